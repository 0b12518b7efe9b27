// ops/norm/norm_many_cuda.cu: the forward of RMSNorm for many rows. A half-warp holds a row in its registers, so that
// the row is read once, all of its loads are in flight together, and no thread waits for another warp. The sums are the
// sixteen lanes of norm_cuda.cu.
#include <cuda_runtime.h>

#include "base/integers.h"
#include "ops/norm/norm_many_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = kThreads / kLanes;
constexpr int64_t kManyRows = 1024;  // with fewer, a block per row fills the device better

// kPer: elements of a thread, at least D / kLanes. kSum: there is a term.
template <int kPer, bool kSum, class X, class Y>
__global__ void __launch_bounds__(kThreads) norm_many(NormManyRows rows) {
  const int lane = threadIdx.x % kLanes;
  const int D = static_cast<int>(rows.D);
  const int64_t own = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kLanes;
  const int64_t t = own < rows.T ? own : rows.T - 1;  // whole warps run: lanes exchange sums
  const X* x = static_cast<const X*>(rows.x) + t * rows.D;
  float values[kPer];
  if constexpr (!kSum) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int d = i * kLanes + lane;
      values[i] = d < D ? to_f32(x[d]) : 0.0f;
    }
  } else {
    constexpr int kAhead = kPer < 24 ? kPer : kPer % 24 == 0 ? 24 : 16;  // of both arrays
    const float* term = rows.term + t * rows.D;
    float* sum = rows.sum + t * rows.D;
#pragma unroll
    for (int first = 0; first < kPer; first += kAhead) {
      float terms[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int d = (first + i) * kLanes + lane;
        values[first + i] = d < D ? to_f32(x[d]) : 0.0f;
        terms[i] = d < D ? term[d] : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int d = (first + i) * kLanes + lane;
        values[first + i] = __fadd_rn(values[first + i], terms[i]);
        if (d < D && own < rows.T) sum[d] = values[first + i];
      }
    }
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if (i * kLanes + lane < D) squares = __fmaf_rn(values[i], values[i], squares);
  }
  const float r = rstd_of(tree_sum(squares), rows.D, rows.eps);
  if (own >= rows.T) return;
  if (rows.rstd != nullptr && lane == 0) rows.rstd[t] = r;
  Y* y = static_cast<Y*>(rows.y) + t * rows.D;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int d = i * kLanes + lane;
    if (d < D) put_f32(y + d, normed<Y>(values[i], r, rows.w[d]));
  }
}

template <int kPer>
void launch(const NormManyRows& rows, cudaStream_t stream) {
  const auto kernel =
      rows.x_bf16 ? norm_many<kPer, false, uint16_t, uint16_t>
      : rows.term == nullptr
          ? (rows.y_bf16 ? norm_many<kPer, false, float, uint16_t> : norm_many<kPer, false, float, float>)
      : rows.y_bf16 ? norm_many<kPer, true, float, uint16_t>
                    : norm_many<kPer, true, float, float>;
  kernel<<<static_cast<unsigned>(ceil_div(rows.T, int64_t{kRows})), kThreads, 0, stream>>>(rows);
  check_launch(rows.term != nullptr ? "add, rms_norm" : "rms_norm");
}

}  // namespace

bool norm_many_rows(const NormManyRows& rows, void* stream) {
  if (rows.T < kManyRows || rows.D > 128 * kLanes || (rows.x_bf16 && !rows.y_bf16)) return false;
  const auto s = static_cast<cudaStream_t>(stream);
  const int64_t per = ceil_div(rows.D, int64_t{kLanes});
  if (per <= 8) {
    launch<8>(rows, s);
  } else if (per <= 24) {
    launch<24>(rows, s);
  } else if (per <= 48) {
    launch<48>(rows, s);
  } else if (per <= 64) {
    launch<64>(rows, s);
  } else if (per <= 96) {
    launch<96>(rows, s);
  } else {
    launch<128>(rows, s);
  }
  return true;
}

}  // namespace r1::cuda
