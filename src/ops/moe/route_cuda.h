// ops/moe/route_cuda.h: the router's backward on a CUDA device. Private to this folder.
#pragma once

#include "ops/moe/route.h"

namespace r1::cuda {

// Assigns dlogits [T, E], as cpu::route_backward does. All arrays are the device's.
void route_backward(Context& ctx, const MoeConfig& config, const Routing& routing, const float* drow,
                    const Balance& balance, float* dlogits);

}  // namespace r1::cuda
