// ops/attention/head_turn_cuda.h: how the kernels of decoding turn heads. Private to this folder.
#pragma once

#include "ops/attention/attention.h"
#include "ops/rope/rope_cuda.h"

namespace r1::cuda {

// The first `still` of a head's K numbers are not turned.
struct HeadTurn {
  int K, still;
  bool interleaved;
  const float* table;  // on the device (ops/rope/rope_cuda.h)
};

// Sends what the rotary table lacks.
HeadTurn head_turn(Context& ctx, int64_t K, const Rotary& rotary);

}  // namespace r1::cuda
