// ops/embed/embed_cuda.h: the gradient of token embedding on a CUDA device, with cpu-f32's bits. Private to
// this folder and its tests.
//
// Pointers are the device's; tokens lie in [0, V). Work is queued on `stream` (a cudaStream_t) and nothing is
// allocated. Throws Error if a launch is refused.
#pragma once

#include <cstdint>

namespace r1::cuda {

// gradient[tokens[t]] += dy[t], in the order of t.
void embed_add_rows(const float* dy, const int32_t* tokens, int64_t T, int64_t D, float* gradient,
                    void* stream);

}  // namespace r1::cuda
