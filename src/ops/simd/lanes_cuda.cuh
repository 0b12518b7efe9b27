// ops/simd/lanes_cuda.cuh: the sixteen virtual lanes of lanes-inl.h on a GPU: one thread is one lane.
//
// Element i of a row belongs to lane i mod 16, and lanes are combined 8, 4, 2, 1 apart. A half-warp is a
// group of sixteen lanes; addition commutes, so all of its threads end with the same bits.
#pragma once

#include <cstdint>

namespace r1::cuda {

inline constexpr int kLanes = 16;

__device__ __forceinline__ float tree_sum(float lane) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2)
    lane = __fadd_rn(lane, __shfl_xor_sync(0xFFFFFFFFu, lane, apart, kLanes));
  return lane;
}
__device__ __forceinline__ double tree_sum(double lane) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2)
    lane = __dadd_rn(lane, __shfl_xor_sync(0xFFFFFFFFu, lane, apart, kLanes));
  return lane;
}

// Attention's thirty-two lanes, one per key of a tile: combined 16, 8, 4, 2, 1 apart, so a warp's threads.
__device__ __forceinline__ float warp_tree_sum(float lane) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2)
    lane = __fadd_rn(lane, __shfl_xor_sync(0xFFFFFFFFu, lane, apart));
  return lane;
}
// The largest of a warp's values; NaN loses.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, apart));
  return value;
}

// For every element i of this thread's lane in order: lane = step(lane, i). kAhead elements are loaded before
// the first of them is needed.
template <int kAhead, class Load, class Step>
__device__ __forceinline__ float fold(float lane, int64_t n, const Load& load, const Step& step) {
  int64_t i = threadIdx.x % kLanes;
  for (; i + (kAhead - 1) * kLanes < n; i += kAhead * kLanes) {
    decltype(load(i)) loaded[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) loaded[a] = load(i + a * kLanes);
#pragma unroll
    for (int a = 0; a < kAhead; ++a) lane = step(lane, loaded[a]);
  }
  for (; i < n; i += kLanes) lane = step(lane, load(i));
  return lane;
}

}  // namespace r1::cuda
