// ops/simd/bf16_cuda.cuh: f32 and bf16 on a CUDA device, by integers, with the bits of tensor/dtype.cc.
// Kernels that compute in f32 are templates of their elements' types: float, or uint16_t for the bits of
// bf16.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace r1::cuda {

__device__ __forceinline__ uint16_t bf16_bits(float value) {
  const uint32_t bits = __float_as_uint(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
__device__ __forceinline__ float to_f32(float value) {
  return value;
}
__device__ __forceinline__ float to_f32(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ __forceinline__ float through_bf16(float value) {
  return to_f32(bf16_bits(value));
}
__device__ __forceinline__ void put_f32(float* to, float value) {
  *to = value;
}
__device__ __forceinline__ void put_f32(uint16_t* to, float value) {
  *to = bf16_bits(value);
}

}  // namespace r1::cuda
