#include <cuda_runtime.h>

#include "ops/simd/exp_cuda.cuh"
#include "tensor/cuda.h"
#include "tests/gpu/exp_kernel.h"

namespace r1::test {
namespace {
__global__ void exp_kernel(const float* x, int64_t n, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = cuda::exp_f32(x[i]);
}
}  // namespace

void exp_on_device(const float* x, int64_t n, float* y, void* stream) {
  exp_kernel<<<static_cast<unsigned>((n + 255) / 256), 256, 0, static_cast<cudaStream_t>(stream)>>>(x, n, y);
  cuda::check_launch("exp_kernel");
}

}  // namespace r1::test
