// ops/simd/vectors_cuda.cuh: neighbours in memory that a thread reads and writes together, 16 bytes at a time.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/simd/bf16_cuda.cuh"

namespace r1::cuda {

template <class V, int kCount>
struct alignas(kCount * sizeof(V) < 16 ? kCount * sizeof(V) : 16) Neighbours {
  V at[kCount];
};

// True if Neighbours of V can be read at `at`.
template <class V, int kCount>
bool holds_neighbours(const V* at) {
  return reinterpret_cast<uintptr_t>(at) % alignof(Neighbours<V, kCount>) == 0;
}

// bf16_bits() of two values, the first in the lower half: one instruction, unless one of them is NaN.
__device__ __forceinline__ uint32_t bf16_pair(float first, float second) {
  if (first != first || second != second)
    return static_cast<uint32_t>(bf16_bits(first)) | static_cast<uint32_t>(bf16_bits(second)) << 16;
  uint32_t pair = 0;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

template <int kCount>
__device__ __forceinline__ void load_neighbours(const float* from, float (&to)[kCount]) {
  const auto loaded = *reinterpret_cast<const Neighbours<float, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = loaded.at[i];
}
template <int kCount>
__device__ __forceinline__ void load_neighbours(const uint16_t* from, float (&to)[kCount]) {
  static_assert(kCount % 2 == 0);
  const auto loaded = *reinterpret_cast<const Neighbours<uint32_t, kCount / 2>*>(from);
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    to[2 * i] = __uint_as_float(loaded.at[i] << 16);
    to[2 * i + 1] = __uint_as_float(loaded.at[i] & 0xFFFF0000u);
  }
}
template <int kCount>
__device__ __forceinline__ void store_neighbours(float* to, const float (&values)[kCount]) {
  Neighbours<float, kCount> out;
#pragma unroll
  for (int i = 0; i < kCount; ++i) out.at[i] = values[i];
  *reinterpret_cast<Neighbours<float, kCount>*>(to) = out;
}
// Rounds. One branch asks for NaN in all of them.
template <int kCount>
__device__ __forceinline__ void store_neighbours(uint16_t* to, const float (&values)[kCount]) {
  static_assert(kCount % 2 == 0);
  Neighbours<uint32_t, kCount / 2> out;
  bool numbers = true;
#pragma unroll
  for (int i = 0; i < kCount; ++i) numbers = numbers && values[i] == values[i];
  if (numbers) {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i)
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out.at[i]) : "f"(values[2 * i + 1]), "f"(values[2 * i]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) out.at[i] = bf16_pair(values[2 * i], values[2 * i + 1]);
  }
  *reinterpret_cast<Neighbours<uint32_t, kCount / 2>*>(to) = out;
}

}  // namespace r1::cuda
