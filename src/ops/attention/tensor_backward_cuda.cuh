// ops/attention/tensor_backward_cuda.cuh: what the kernels of the backward of tensor_attention_cuda.h are given.
// Private to them: mma.sync in tensor_attention_backward_cuda.cu, wgmma in tensor_backward_sm90.cu.
#pragma once

#include "ops/attention/attention_tiles.h"
#include "ops/attention/tensor_attention_cuda.cuh"

namespace r1::cuda {

struct TensorBackwardJob {
  int64_t rows;  // T H
  int H, G, K, V, heads;
  Quotient by_heads;
  float scale, scale_log2;
  const uint16_t *q, *k, *v;
  const float *out, *d_out, *maxima, *sums;
  uint16_t* d_o;             // [T, H, V]
  float *log_sums, *deltas;  // [T, H]
  bool k_vectors, v_vectors;
  float *dq, *dk, *dv;  // null: not wanted
  bool add_dq, add_dk, add_dv;
};

// A copy of one float; `there` false: 0.
__device__ __forceinline__ void copy_float(uint32_t to, const float* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(there ? 4 : 0)
               : "memory");
}

// p = 2^(s c - log_sum)
__device__ __forceinline__ float probability_of(float s, float c, float log_sum) {
  return exp2_fast(__fmaf_rn(s, c, -log_sum));
}
__device__ __forceinline__ float finished(float sum, float scale) {
  return __fadd_rn(__fmul_rn(sum, scale), 0.0f);
}

// The kernels by wgmma. Tiles of query rows have wgmma_query_rows().
bool wgmma_differentiates(const TensorBackwardJob& b);
int wgmma_query_rows(const TensorBackwardJob& b);
void wgmma_key_gradients(const TensorBackwardJob& b, const TileOfKeys* tiles, int64_t count, void* stream);
void wgmma_query_gradients(const TensorBackwardJob& b, const TileOfQueries* tiles, int64_t count,
                           void* stream);

}  // namespace r1::cuda
