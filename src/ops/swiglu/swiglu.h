// ops/swiglu/swiglu.h: y = silu(gate) * up, silu(z) = z / (1 + exp(-z)) (Shazeer 2020).
//
// cpu-f32: exp is ours (ops/simd/exp.h); y = (g / (1 + e)) * u, each operation rounded once.
// Elementwise, so bit-exact.
#pragma once

#include "tensor/context.h"

namespace r1 {

// gate, up [T, F] -> [T, F].
Tensor swiglu(Context& ctx, const Tensor& gate, const Tensor& up);

// For the CPU's kernels of ops with their own buffers (moe): n elements. dgate and dup are assigned; they may
// be gate and up.
void swiglu_into(ThreadPool& threads, const float* gate, const float* up, int64_t n, float* y);
void swiglu_backward_into(ThreadPool& threads, const float* gate, const float* up, const float* dy, int64_t n,
                          float* dgate, float* dup);

namespace ref {
void swiglu(const float* gate, const float* up, int64_t n, double* y);
void swiglu_backward(const float* gate, const float* up, const float* dy, int64_t n, double* dgate,
                     double* dup);
}  // namespace ref

}  // namespace r1
