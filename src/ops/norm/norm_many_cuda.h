// ops/norm/norm_many_cuda.h: RMSNorm of many rows on a CUDA device, as training has them, with the bits of norm_cuda.h.
// Private to this folder and its tests.
//
// Pointers are the device's. Work is queued on a stream (a cudaStream_t). Throws Error if a launch is refused.
#pragma once

#include <cstdint>

#include "tensor/context.h"

namespace r1::cuda {

// y [T, D] = rms_norm(x), or of sum = x + term.
struct NormManyRows {
  const void* x = nullptr;  // f32, or bf16 if x_bf16
  bool x_bf16 = false;
  const float* term = nullptr;  // f32, as x and `sum`; or null
  float* sum = nullptr;         // written if there is a term; it may be x
  const float* w = nullptr;     // [D]
  int64_t T = 0, D = 0;
  float eps = 0;
  void* y = nullptr;  // f32, or bf16 if y_bf16
  bool y_bf16 = false;
  float* rstd = nullptr;  // [T]; null: not wanted
};
// Returns false, and does nothing, if other kernels are better for these shapes.
bool norm_many_rows(const NormManyRows& rows, void* stream);

// The whole backward in one pass over memory, for numerics whose sums over tokens go by families.
struct NormGradients {
  const void* x = nullptr;  // [rows, D], f32, or bf16 if x_bf16
  bool x_bf16 = false;
  const float* dy = nullptr;    // [rows, D]
  const float* rstd = nullptr;  // [rows]
  const float* w = nullptr;     // [D]
  bool round_w = false;         // the forward saw it in bf16
  int64_t rows = 0, D = 0;
  float* dx = nullptr;  // receives the gradient, which is added if `add`; null leaves only `rounded`
  bool add = false;
  uint16_t* rounded = nullptr;  // dx in bf16; or null
  float* dw = nullptr;          // [D], added to; or null
};
// Returns false, and does nothing, if the shapes do not allow it. Takes scratch, also while memory is measured.
bool norm_gradients(Context& ctx, const NormGradients& call);

}  // namespace r1::cuda
