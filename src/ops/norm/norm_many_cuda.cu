// ops/norm/norm_many_cuda.cu: the forward of RMSNorm for many rows. A warp holds a few rows, which follow each other in
// memory, in its registers: it reads and writes them once, 512 bytes at a time, and waits for no other warp. For the
// sums, which are the sixteen lanes of norm_cuda.cu, the rows pass through shared memory.
#include <cuda_runtime.h>

#include "base/integers.h"
#include "ops/norm/norm_many_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kEach = 4;             // neighbours that a thread takes at a time
constexpr int64_t kManyRows = 1024;  // below this, a block per row fills the device better

// Floats between rows in shared memory: the two rows that half-warps sum at a time lie in different banks.
__host__ __device__ constexpr int row_pitch(int D) {
  return D % 32 == 0 ? D + 16 : D;
}

// kFours: fours of a thread, at least kRows * D / (32 * kEach). kSum: there is a term.
template <int kRows, int kFours, bool kSum, class X, class Y>
__global__ void __launch_bounds__(kThreads) norm_many(NormManyRows rows) {
  extern __shared__ __align__(16) float memory[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int D = static_cast<int>(rows.D), pitch = row_pitch(D);
  const int64_t t = (static_cast<int64_t>(blockIdx.x) * kWarps + warp) * kRows;
  if (t >= rows.T) return;
  const int here = static_cast<int>(min(int64_t{kRows}, rows.T - t));
  float* const own = memory + warp * kRows * pitch;
  const int64_t begin = t * rows.D;
  float values[kFours][kEach];
  const auto row_of = [&](int at) {  // the row of an element
    return kRows == 2 ? (at >= D ? 1 : 0) + (at >= 2 * D ? 1 : 0) : at / D;
  };
  const auto place = [&](int i) { return (i * 32 + lane) * kEach; };  // the place of four i, counted from the first row
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    if (place(i) < here * D) load_neighbours(static_cast<const X*>(rows.x) + begin + place(i), values[i]);
  }
  if constexpr (kSum) {
    constexpr int kAhead = kFours % 6 == 0 ? 6 : kFours % 4 == 0 ? 4 : 3;
    static_assert(kFours % kAhead == 0);
#pragma unroll
    for (int first = 0; first < kFours; first += kAhead) {
      float terms[kAhead][kEach];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (place(first + i) < here * D) load_neighbours(rows.term + begin + place(first + i), terms[i]);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
#pragma unroll
        for (int e = 0; e < kEach; ++e) values[first + i][e] = __fadd_rn(values[first + i][e], terms[i][e]);
        if (place(first + i) < here * D)
          store_neighbours(rows.sum + begin + place(first + i), values[first + i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const int row = row_of(place(i));
    if (row < here) store_neighbours(own + row * pitch + place(i) - row * D, values[i]);
  }
  __syncwarp();
  float rstds[kRows];
#pragma unroll
  for (int first = 0; first < kRows; first += 2) {
    const float* at = own + (first + lane / kLanes) * pitch;  // a row that is not there is summed for nobody
    float squares = 0.0f;
#pragma unroll 8
    for (int d = lane % kLanes; d < D; d += kLanes) squares = __fmaf_rn(at[d], at[d], squares);
    const float r = rstd_of(tree_sum(squares), rows.D, rows.eps);
    if (rows.rstd != nullptr && lane % kLanes == 0 && first + lane / kLanes < here)
      rows.rstd[t + first + lane / kLanes] = r;
    rstds[first] = __shfl_sync(0xFFFFFFFFu, r, 0);
    rstds[first + 1] = __shfl_sync(0xFFFFFFFFu, r, kLanes);
  }
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const int row = row_of(place(i));
    if (row >= here) continue;
    float weights[kEach], r = rstds[0];
#pragma unroll
    for (int other = 1; other < kRows; ++other) r = row == other ? rstds[other] : r;
    load_neighbours(rows.w + place(i) - row * D, weights);
#pragma unroll
    for (int e = 0; e < kEach; ++e) values[i][e] = normed<Y>(values[i][e], r, weights[e]);
    store_neighbours(static_cast<Y*>(rows.y) + begin + place(i), values[i]);
  }
}

template <int kRows, int kFours>
void launch(const NormManyRows& rows, cudaStream_t stream) {
  const auto kernel = rows.x_bf16            ? norm_many<kRows, kFours, false, uint16_t, uint16_t>
                      : rows.term == nullptr ? (rows.y_bf16 ? norm_many<kRows, kFours, false, float, uint16_t>
                                                            : norm_many<kRows, kFours, false, float, float>)
                      : rows.y_bf16          ? norm_many<kRows, kFours, true, float, uint16_t>
                                             : norm_many<kRows, kFours, true, float, float>;
  const int bytes = kWarps * kRows * row_pitch(static_cast<int>(rows.D)) * static_cast<int>(sizeof(float));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  kernel<<<static_cast<unsigned>(ceil_div(rows.T, int64_t{kWarps * kRows})), kThreads,
           static_cast<size_t>(bytes), stream>>>(rows);
  check_launch(rows.term != nullptr ? "add, rms_norm" : "rms_norm");
}

bool aligned(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

}  // namespace

bool norm_many_rows(const NormManyRows& rows, void* stream) {
  constexpr int kWide = 32 * kEach;
  if (rows.T < kManyRows || rows.D % kEach != 0 || rows.D > 16 * kWide || (rows.x_bf16 && !rows.y_bf16))
    return false;
  if (!aligned(rows.x) || !aligned(rows.term) || !aligned(rows.sum) || !aligned(rows.w) || !aligned(rows.y))
    return false;
  const auto s = static_cast<cudaStream_t>(stream);
  if (rows.D <= kWide / 2) {
    launch<8, 4>(rows, s);
  } else if (rows.D <= kWide) {
    launch<8, 8>(rows, s);
  } else if (rows.D <= 3 * kWide) {
    launch<2, 6>(rows, s);
  } else if (rows.D <= 6 * kWide) {
    launch<2, 12>(rows, s);
  } else if (rows.D <= 8 * kWide) {
    launch<2, 16>(rows, s);
  } else if (rows.D <= 12 * kWide) {
    launch<2, 24>(rows, s);
  } else {
    launch<2, 32>(rows, s);
  }
  return true;
}

}  // namespace r1::cuda
