// ops/swiglu/swiglu_value_cuda.cuh: SwiGLU of one element on a CUDA device, for kernels that gate among other things.
#pragma once

#include <cuda_runtime.h>

#include "ops/simd/exp_cuda.cuh"

namespace r1::cuda {

// silu(gate) * up before it is rounded.
__device__ __forceinline__ float swiglu_value(float gate, float up) {
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, exp_f32(-gate))), up);
}

}  // namespace r1::cuda
