// ops/norm/norm_cuda.h: RMSNorm on a CUDA device, with cpu-f32's bits. Private to this folder and its tests.
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws
// Error if a launch is refused.
#pragma once

#include <cstdint>

namespace r1::cuda {

// y [T, D] = x * rstd * w. rstd [T] is written unless it is null.
void rms_norm(const float* x, const float* w, int64_t T, int64_t D, float eps, float* y, float* rstd,
              void* stream);

struct NormRows {
  const float *x, *dy;  // [T, D]
  const float* rstd;    // [T]
  int64_t T, D;
};
// dx [T, D] is assigned, or added to.
void rms_norm_dx(const NormRows& rows, const float* w, bool accumulate, float* dx, void* stream);
// dw [D] continues from what it held: t in order.
void rms_norm_dw(const NormRows& rows, float* dw, void* stream);

}  // namespace r1::cuda
