// ops/sample/draw_cuda.cuh: filters and the draw for one row of logits by one block: cut_cpu.cc and
// sample_cpu.cc on a CUDA device, with their bits.
//
// Sums of a bin's weights are exact, so their order does not matter: the logits of a bin lie within 1/32, so
// its weights have one exponent or two neighbouring ones, and 2^27 of them fit a double. The last bin holds
// the rest of the row; there only the question whether its sum is positive matters, unless a cut by weight
// falls into it, which takes more than 4 million tokens. One thread then sums in the order of the row.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/loss/row_softmax_cuda.cuh"
#include "ops/sample/cut.h"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"

namespace r1::cuda {

inline constexpr int kDrawThreads = 512;
inline constexpr int kBins = 1024, kDigits = 256;
inline constexpr int kCandidates = 2048;

// Keeps tokens above `z`, and the first `keep` of the `have` tokens that are equal to it.
struct DeviceCut {
  float z;
  int64_t keep, have;
};

struct CutShared {
  double sum[kBins];
  int32_t count[kBins];
  uint64_t candidates[kCandidates];  // sorted: descending logits, of equals ascending indices
  float e[kCandidates];
  int32_t candidate_count, equal, kept;
  uint32_t bin;
  double above, target, block_sum;
  int64_t block;
  int32_t by_warp[kDrawThreads / 32];
  DeviceCut cut;
};

// A row while it is filtered. Weights are exp(z - max).
struct DrawState {
  float* z;
  int64_t V;
  float max;
  double* block_sums;  // [ceil(V / kSampleBlock)], scratch
  CutShared& shared;

  __device__ float weight(float logit) const { return exp_f32(__fsub_rn(logit, max)); }
  __device__ uint32_t bin_of(float logit) const {
    const float distance = __fmul_rn(__fsub_rn(max, logit), 32.0f);
    return static_cast<uint32_t>(floorf(fminf(distance, 1023.0f)));
  }
};

// The order of the floats; -0 and +0 have one key.
__device__ __forceinline__ uint32_t order_key(float z) {
  const uint32_t bits = __float_as_uint(__fadd_rn(z, 0.0f));
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float float_of_key(uint32_t key) {
  return __uint_as_float(key >> 31 != 0 ? key & 0x7fffffffu : ~key);
}

// block_sums[b] = the weights of block b, in sixteen f64 lanes and a tree; a half-warp per block.
__device__ inline void sum_blocks(const DrawState& row) {
  const int64_t blocks = (row.V + kSampleBlock - 1) / kSampleBlock;
  constexpr int kHalfWarps = kDrawThreads / kLanes;
  for (int64_t b0 = 0; b0 < blocks; b0 += kHalfWarps) {
    const int64_t b = b0 + threadIdx.x / kLanes, first = b * kSampleBlock;
    const int64_t n = b < blocks ? min(row.V - first, kSampleBlock) : 0;
    double lane = 0;
    for (int64_t i = threadIdx.x % kLanes; i < n; i += kLanes)
      lane = __dadd_rn(static_cast<double>(row.weight(row.z[first + i])), lane);
    lane = tree_sum(lane);
    if (n > 0 && threadIdx.x % kLanes == 0) row.block_sums[b] = lane;
  }
  __syncthreads();
}

// The weight of the row, for one thread, after sum_blocks().
__device__ inline double total_weight(const DrawState& row) {
  double total = 0;
  const int64_t blocks = (row.V + kSampleBlock - 1) / kSampleBlock;
#pragma unroll 8
  for (int64_t b = 0; b < blocks; ++b) total = __dadd_rn(total, row.block_sums[b]);
  return total;
}

// A thread's contributions to a histogram; those to one bin in a row are one addition.
class BinSums {
 public:
  __device__ explicit BinSums(CutShared& shared) : shared_(shared) {}
  __device__ void add(uint32_t bin, double amount) {
    if (bin != bin_) flush();
    bin_ = bin;
    sum_ = __dadd_rn(sum_, amount);
    ++count_;
  }
  __device__ void flush() {
    if (count_ == 0) return;
    atomicAdd(&shared_.count[bin_], count_);
    if (sum_ != 0) atomicAdd(&shared_.sum[bin_], sum_);
    sum_ = 0;
    count_ = 0;
  }

 private:
  CutShared& shared_;
  uint32_t bin_ = 0;
  double sum_ = 0;
  int32_t count_ = 0;
};

template <int kCount>
__device__ void clear_bins(CutShared& shared) {
  for (int i = static_cast<int>(threadIdx.x); i < kCount; i += kDrawThreads) {
    shared.sum[i] = 0;
    shared.count[i] = 0;
  }
  __syncthreads();
}

// Histogram::reach of cut_cpu.cc, by one thread: in the order of rising bins, or of falling ones.
template <int kCount, bool kFalling>
__device__ uint32_t reach(CutShared& shared) {
  const auto bin_at = [](int i) { return static_cast<uint32_t>(kFalling ? kCount - 1 - i : i); };
  uint32_t found = bin_at(0);
  double so_far = shared.above;
  for (int i = 0; i < kCount; ++i) {
    const uint32_t bin = bin_at(i);
    if (shared.sum[bin] <= 0) continue;
    found = bin;
    shared.above = so_far;
    so_far = __dadd_rn(so_far, shared.sum[bin]);
    if (so_far >= shared.target) break;
  }
  return found;
}

// Sorts candidates [0, size), size a power of two.
__device__ inline void sort_candidates(CutShared& shared, int size) {
  for (int width = 2; width <= size; width *= 2) {
    for (int apart = width / 2; apart > 0; apart /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < size; i += kDrawThreads) {
        const int other = i ^ apart;
        if (other <= i) continue;
        const uint64_t a = shared.candidates[i], b = shared.candidates[other];
        if ((a > b) == ((i & width) == 0)) {
          shared.candidates[i] = b;
          shared.candidates[other] = a;
        }
      }
      __syncthreads();
    }
  }
}

template <bool kByWeight>
__device__ void cut_by_sorting(const DrawState& row) {
  CutShared& shared = row.shared;
  if (threadIdx.x == 0) shared.candidate_count = shared.equal = shared.kept = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads) {
    if (row.bin_of(row.z[i]) != shared.bin) continue;
    const int at = atomicAdd(&shared.candidate_count, 1);
    shared.candidates[at] = static_cast<uint64_t>(~order_key(row.z[i])) << 32 | static_cast<uint64_t>(i);
  }
  __syncthreads();
  const int n = shared.candidate_count;
  int size = 1;
  while (size < n) size *= 2;
  for (int i = n + static_cast<int>(threadIdx.x); i < size; i += kDrawThreads)
    shared.candidates[i] = ~uint64_t{0};
  __syncthreads();
  sort_candidates(shared, size);
  const auto key_of = [&](int i) { return ~static_cast<uint32_t>(shared.candidates[i] >> 32); };
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kDrawThreads)
    shared.e[i] = kByWeight ? row.weight(float_of_key(key_of(i))) : 1.0f;
  __syncthreads();
  if (threadIdx.x == 0) {
    double above = shared.above;
    int last = 0;
    for (; last < n - 1; ++last) {
      above = __dadd_rn(above, static_cast<double>(shared.e[last]));
      if (above >= shared.target) break;
    }
    shared.block = last;
  }
  __syncthreads();
  const int last = static_cast<int>(shared.block);
  const uint32_t key = key_of(last);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kDrawThreads) {
    if (key_of(i) != key) continue;
    atomicAdd(&shared.equal, 1);
    if (i <= last) atomicAdd(&shared.kept, 1);
  }
  __syncthreads();
  if (threadIdx.x == 0) shared.cut = {float_of_key(key), shared.kept, shared.equal};
  __syncthreads();
}

template <bool kByWeight>
__device__ void cut_by_digits(const DrawState& row) {
  CutShared& shared = row.shared;
  const uint32_t bin = shared.bin;
  const bool in_order = kByWeight && bin == kBins - 1;  // sums are not exact there
  uint32_t prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    clear_bins<kDigits>(shared);
    BinSums sums(shared);
    const auto add = [&](float z) {
      const uint32_t key = order_key(z);
      if (row.bin_of(z) != bin || (shift < 24 && key >> (shift + 8) != prefix >> (shift + 8))) return;
      const uint32_t digit = key >> shift & (kDigits - 1);
      const double amount = kByWeight ? static_cast<double>(row.weight(z)) : 1.0;
      if (!in_order) return sums.add(digit, amount);
      shared.sum[digit] = __dadd_rn(shared.sum[digit], amount);
      ++shared.count[digit];
    };
    if (!in_order) {
      for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads) add(row.z[i]);
      sums.flush();
    } else if (threadIdx.x == 0) {
      for (int64_t i = 0; i < row.V; ++i) add(row.z[i]);
    }
    __syncthreads();
    if (threadIdx.x == 0) shared.bin = reach<kDigits, true>(shared);
    __syncthreads();
    const uint32_t digit = shared.bin;
    prefix |= digit << shift;
    if (shift == 0 && threadIdx.x == 0) {
      const int32_t have = shared.count[digit];
      const double each = __ddiv_rn(shared.sum[digit], static_cast<double>(have));
      const double wanted = ceil(__ddiv_rn(__dadd_rn(shared.target, -shared.above), each));
      const double keep = wanted < 1 ? 1 : wanted > have ? have : wanted;
      shared.cut = {float_of_key(prefix), static_cast<int64_t>(keep), have};
    }
    __syncthreads();
  }
}

// Drops what lies below the cut, and of its equals all but the first.
__device__ inline void apply_cut(const DrawState& row) {
  CutShared& shared = row.shared;
  const DeviceCut cut = shared.cut;
  for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads)
    if (row.z[i] < cut.z) row.z[i] = minus_infinity();
  __syncthreads();
  if (cut.keep >= cut.have) return;
  int64_t before = 0;  // equals so far
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t first = 0; first < row.V; first += kDrawThreads) {
    const int64_t i = first + threadIdx.x;
    const bool equal = i < row.V && row.z[i] == cut.z;
    const unsigned found = __ballot_sync(0xFFFFFFFFu, equal);
    if (lane == 0) shared.by_warp[warp] = __popc(found);
    __syncthreads();
    int64_t place = before + __popc(found & ((1u << lane) - 1));
    for (int w = 0; w < kDrawThreads / 32; ++w) {
      if (w < warp) place += shared.by_warp[w];
      before += shared.by_warp[w];
    }
    if (equal && place >= cut.keep) row.z[i] = minus_infinity();
    __syncthreads();
  }
}

// `share` is a fraction of the total weight, or a count.
template <bool kByWeight>
__device__ void cut_row(const DrawState& row, double share) {
  CutShared& shared = row.shared;
  clear_bins<kBins>(shared);
  if (kByWeight) sum_blocks(row);
  BinSums sums(shared);
  for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads) {
    const float z = row.z[i];
    sums.add(row.bin_of(z), kByWeight ? static_cast<double>(row.weight(z)) : 1.0);
  }
  sums.flush();
  __syncthreads();
  if (threadIdx.x == 0) {
    shared.target = kByWeight ? __dmul_rn(share, total_weight(row)) : share;
    shared.above = 0;
    shared.bin = reach<kBins, false>(shared);
  }
  __syncthreads();
  const bool few = shared.count[shared.bin] <= kCandidates;
  __syncthreads();
  if (few) {
    cut_by_sorting<kByWeight>(row);
  } else {
    cut_by_digits<kByWeight>(row);
  }
  apply_cut(row);
}

__device__ inline void keep_weights_of_at_least(const DrawState& row, float least) {
  for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads)
    if (!(row.weight(row.z[i]) >= least)) row.z[i] = minus_infinity();
  __syncthreads();
}

// Inverts the cumulative sum. Every thread gets the token, or -1 if none is left.
__device__ inline int64_t draw(const DrawState& row, float uniform) {
  CutShared& shared = row.shared;
  sum_blocks(row);
  const int64_t blocks = (row.V + kSampleBlock - 1) / kSampleBlock;
  if (threadIdx.x == 0) {
    const double threshold = __dmul_rn(static_cast<double>(uniform), total_weight(row));
    double sum = 0;
    int64_t b = 0;
    for (; b < blocks; ++b) {
      const double block = row.block_sums[b], next = __dadd_rn(sum, block);
      if (block > 0 && next > threshold) break;
      sum = next;
    }
    shared.block = b;
    shared.block_sum = sum;
    shared.target = threshold;
  }
  __syncthreads();
  const int64_t first = shared.block * kSampleBlock;
  if (shared.block >= blocks) return -1;
  const int64_t n = min(row.V - first, kSampleBlock);
  for (int64_t i = threadIdx.x; i < n; i += kDrawThreads) shared.e[i] = row.weight(row.z[first + i]);
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = shared.block_sum;
    int64_t chosen = -1;
    for (int64_t i = 0; i < n; ++i) {
      if (shared.e[i] <= 0) continue;
      chosen = first + i;  // the last one, if the block's own order rounds below its total
      sum = __dadd_rn(sum, static_cast<double>(shared.e[i]));
      if (sum > shared.target) break;
    }
    shared.block = chosen;
  }
  __syncthreads();
  const int64_t chosen = shared.block;
  __syncthreads();
  return chosen;
}

// The lowest index of a logit that equals the maximum.
__device__ inline int64_t first_maximum(const DrawState& row) {
  CutShared& shared = row.shared;
  if (threadIdx.x == 0) shared.kept = INT32_MAX;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < row.V; i += kDrawThreads) {
    if (row.z[i] != row.max) continue;
    atomicMin(&shared.kept, static_cast<int32_t>(i));
    break;
  }
  __syncthreads();
  const int64_t found = shared.kept;
  __syncthreads();
  return found;
}

}  // namespace r1::cuda
