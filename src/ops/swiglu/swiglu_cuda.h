// ops/swiglu/swiglu_cuda.h: SwiGLU of plain memory on a CUDA device, for CUDA kernels of other ops.
#pragma once

#include <cstdint>

namespace r1::cuda {

// y[i] = silu(gate[i]) * up[i] for n elements. Pointers are the device's. Work is queued on `stream` (a
// cudaStream_t). Throws Error if the launch is refused.
void swiglu_f32(const float* gate, const float* up, int64_t n, float* y, void* stream);

}  // namespace r1::cuda
