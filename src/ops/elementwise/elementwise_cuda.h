// ops/elementwise/elementwise_cuda.h: rows of a table on a CUDA device, for CUDA kernels of other ops.
#pragma once

#include <cstdint>

namespace r1::cuda {

// y [R, N]: y[r] = table[indices[r]]. Pointers are the device's. Work is queued on `stream` (a cudaStream_t).
// Throws Error if the launch is refused.
void gather_rows_f32(const float* table, const int32_t* indices, int64_t R, int64_t N, float* y,
                     void* stream);

}  // namespace r1::cuda
