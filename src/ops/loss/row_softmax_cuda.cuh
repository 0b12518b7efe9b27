// ops/loss/row_softmax_cuda.cuh: the softmax of one row of logits by one block: row_softmax.cc on a CUDA
// device. The trainer's log-probs and the sampler's come from this one function.
//
// The sum is sixteen chains, however many threads there are: one warp runs them, while the others compute the
// exps of the next piece into shared memory. Its second half sums for the entropy; fma(e, 1, sum) is sum + e.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/log_cuda.cuh"

namespace r1::cuda {

inline constexpr int kSoftmaxPiece = 2048;  // exps; a multiple of 16

struct SoftmaxShared {
  float e[2][kSoftmaxPiece];
  float shifted[2][kSoftmaxPiece];  // max(z - max, -100), for the entropy
  float by_warp[32];
  float max, sum, log_sum, entropy;
};

__device__ __forceinline__ constexpr float minus_infinity() {
  return -__builtin_huge_valf();
}

// The largest of a value per thread, for every thread of a block of kThreads; NaN loses.
template <int kThreads>
__device__ float block_max(float value, float* by_warp) {
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = warp_max(threadIdx.x % 32 < kThreads / 32 ? by_warp[threadIdx.x % 32] : minus_infinity());
  __syncthreads();
  return value;
}

// Overwrites z [V] with z * inv_temperature and fills shared.max, sum, log_sum and, if wanted, entropy. All
// kThreads threads of the block call it, and see the results.
template <int kThreads, bool kEntropy>
__device__ void softmax_of_row(float* z, int64_t V, float inv_temperature, SoftmaxShared& shared) {
  float highest = minus_infinity();
  for (int64_t i = threadIdx.x; i < V; i += kThreads) {
    float value = z[i];
    if (inv_temperature != 1.0f) z[i] = value = __fmul_rn(value, inv_temperature);
    highest = fmaxf(highest, value);
  }
  const float max = __fadd_rn(block_max<kThreads>(highest, shared.by_warp), 0.0f);  // +0 for -0

  constexpr int kProducers = kThreads - 32;
  const bool sums_here = threadIdx.x < 32, entropy_here = threadIdx.x % 32 >= kLanes;
  const int64_t pieces = (V + kSoftmaxPiece - 1) / kSoftmaxPiece;
  float lane = 0.0f;
  for (int64_t p = 0; p <= pieces; ++p) {
    if (!sums_here && p < pieces) {
      const int64_t first = p * kSoftmaxPiece, n = min(V - first, int64_t{kSoftmaxPiece});
#pragma unroll 4
      for (int i = static_cast<int>(threadIdx.x) - 32; i < n; i += kProducers) {
        const float distance = __fsub_rn(z[first + i], max);
        shared.e[p % 2][i] = exp_f32(distance);
        if constexpr (kEntropy) shared.shifted[p % 2][i] = distance < -100.0f ? -100.0f : distance;
      }
    }
    if (sums_here && p > 0) {
      const int at = static_cast<int>((p - 1) % 2);
      const int64_t n = min(V - (p - 1) * kSoftmaxPiece, int64_t{kSoftmaxPiece});
      struct Pair {
        float e, weight;
      };
      lane = fold<16>(
          lane, n,
          [&](int64_t i) {
            return Pair{shared.e[at][i], kEntropy && entropy_here ? shared.shifted[at][i] : 1.0f};
          },
          [](float sum, Pair v) { return __fmaf_rn(v.e, v.weight, sum); });
    }
    __syncthreads();
  }
  if (sums_here) {
    lane = tree_sum(lane);
    const float sum = __shfl_sync(0xFFFFFFFFu, lane, 0), products = __shfl_sync(0xFFFFFFFFu, lane, kLanes);
    if (threadIdx.x == 0) {
      shared.max = max;
      shared.sum = sum;
      shared.log_sum = static_cast<float>(exact_log(static_cast<double>(sum)));
      if constexpr (kEntropy) shared.entropy = __fsub_rn(shared.log_sum, __fdiv_rn(products, sum));
    }
  }
  __syncthreads();
}

}  // namespace r1::cuda
