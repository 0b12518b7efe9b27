// ops/sample/plain_draw_cuda.cu: draws without filters from long rows of logits, with many blocks per row. The bits are
// those of draw_cuda.cuh:
//
//   chunk_maxima   the largest tempered logit of every chunk of kChunk logits
//   chunk_weights  exp(z - max) of every logit, and the sums of blocks of kSampleBlock of them
//   draw_from      a block per row: one warp runs the sixteen chains of the row's sum, which the other warps copy into
//                  shared memory for it, while one warp inverts the cumulative sum over the blocks
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/integers.h"
#include "ops/sample/cut.h"
#include "ops/sample/history.h"
#include "ops/sample/plain_draw_cuda.h"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/log_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 2048;  // logits of a block of threads
static_assert(kChunk % kSampleBlock == 0 && kChunk % kThreads == 0);
constexpr int kBlock = static_cast<int>(kSampleBlock), kBlocksHere = kChunk / kBlock;
constexpr int64_t kLeastLogits = 8192;
constexpr int64_t kMostWeights = int64_t{1} << 26;  // 256 MiB of scratch
constexpr int kNone = INT32_MAX;

struct PlainRow {
  const float* logits;
  float scale, uniform;
  int32_t greedy;
};

struct PlainJob {
  int64_t V, chunks;
  const PlainRow* rows;
  float* maxima;       // [rows, chunks]
  int32_t* firsts;     // [rows, chunks]: the first logit that equals the row's maximum, or kNone
  float* weights;      // [rows, chunks * kChunk], 0 past the end of a row
  double* block_sums;  // [rows, chunks * kBlocksHere]
  Sampled* out;

  __device__ float tempered(const PlainRow& row, int64_t i) const {
    return row.scale != 1.0f ? __fmul_rn(row.logits[i], row.scale) : row.logits[i];
  }
};

constexpr float kLowest = -__builtin_huge_valf();

// Returns the largest value of the block to all of its threads; NaN loses.
__device__ float max_of_block(float value) {
  __shared__ float by_warp[kThreads / 32];
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_max(by_warp[threadIdx.x % (kThreads / 32)]);
}

__global__ void __launch_bounds__(kThreads) chunk_maxima(PlainJob job) {
  const PlainRow row = job.rows[blockIdx.y];
  float highest = kLowest;
#pragma unroll
  for (int j = 0; j < kChunk / kThreads; ++j) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kChunk + j * kThreads + threadIdx.x;
    if (i < job.V) highest = fmaxf(highest, job.tempered(row, i));
  }
  highest = max_of_block(highest);
  if (threadIdx.x == 0) job.maxima[blockIdx.y * job.chunks + blockIdx.x] = highest;
}

// The row's maximum, +0 for -0.
__device__ float row_maximum(const PlainJob& job, int64_t row) {
  float highest = kLowest;
  for (int64_t c = threadIdx.x; c < job.chunks; c += kThreads)
    highest = fmaxf(highest, job.maxima[row * job.chunks + c]);
  return __fadd_rn(max_of_block(highest), 0.0f);
}

__global__ void __launch_bounds__(kThreads) chunk_weights(PlainJob job) {
  __shared__ float e[kChunk];
  __shared__ int first;
  const int64_t r = blockIdx.y, begin = static_cast<int64_t>(blockIdx.x) * kChunk;
  const PlainRow row = job.rows[r];
  if (threadIdx.x == 0) first = kNone;
  const float max = row_maximum(job, r);
  float* const weights = job.weights + (r * job.chunks + blockIdx.x) * kChunk;
#pragma unroll
  for (int j = 0; j < kChunk / kThreads; ++j) {
    const int at = j * kThreads + static_cast<int>(threadIdx.x);
    const int64_t i = begin + at;
    float weight = 0.0f;
    if (i < job.V) {
      const float z = job.tempered(row, i);
      weight = exp_f32(__fsub_rn(z, max));
      if (row.greedy && z == max) atomicMin(&first, static_cast<int>(i));
    }
    e[at] = weight;
    weights[at] = weight;
  }
  __syncthreads();
  if (threadIdx.x == 0) job.firsts[r * job.chunks + blockIdx.x] = first;
  // A half-warp has a block of logits: sixteen f64 lanes and a tree.
  const int block = static_cast<int>(threadIdx.x) / kLanes;
  double lane = 0;
  if (block < kBlocksHere) {
    const int64_t n = min(job.V - begin - block * kBlock, static_cast<int64_t>(kBlock));
    for (int64_t i = threadIdx.x % kLanes; i < n; i += kLanes)
      lane = __dadd_rn(static_cast<double>(e[block * kBlock + i]), lane);
  }
  lane = tree_sum(lane);
  if (block < kBlocksHere && threadIdx.x % kLanes == 0)
    job.block_sums[(r * job.chunks + blockIdx.x) * kBlocksHere + block] = lane;
}

// Calls step(index, value) for n values in order until it returns false, by all lanes of a warp alike. A lane
// reads every 32nd value, so that reads are on their way together.
template <class T, class Step>
__device__ __forceinline__ void in_order(const T* values, int64_t n, const Step& step) {
  const int64_t lane = threadIdx.x % 32;
  T next = lane < n ? values[lane] : T(0);
  for (int64_t first = 0; first < n; first += 32) {
    const T mine = next;
    if (first + 32 + lane < n) next = values[first + 32 + lane];
    for (int j = 0; j < 32 && first + j < n; ++j)
      if (!step(first + j, __shfl_sync(0xFFFFFFFFu, mine, j))) return;
  }
}

// The token of a row, by one warp; -1: none is left.
__device__ int64_t invert(const PlainJob& job, const PlainRow& row, int64_t r) {
  const int64_t blocks = (job.V + kBlock - 1) / kBlock;
  const double* sums = job.block_sums + r * job.chunks * kBlocksHere;
  double total = 0;
  in_order(sums, blocks, [&](int64_t, double block) {
    total = __dadd_rn(total, block);
    return true;
  });
  const double threshold = __dmul_rn(static_cast<double>(row.uniform), total);
  double sum = 0;
  int64_t found = -1;
  in_order(sums, blocks, [&](int64_t b, double block) {
    const double next = __dadd_rn(sum, block);
    if (block > 0 && next > threshold) found = b;
    if (found < 0) sum = next;
    return found < 0;
  });
  if (found < 0) return -1;
  const int64_t first = found * kBlock, n = min(job.V - first, static_cast<int64_t>(kBlock));
  int64_t chosen = -1;
  in_order(job.weights + r * job.chunks * kChunk + first, n, [&](int64_t i, float weight) {
    if (weight <= 0) return true;
    chosen = first + i;  // the last one, if the block's own order rounds below its total
    sum = __dadd_rn(sum, static_cast<double>(weight));
    return sum <= threshold;
  });
  return chosen;
}

constexpr int kStages = 4;
constexpr int kChainThreads = kThreads - 32;  // all but the warp that draws

__device__ __forceinline__ void chain_barrier() {
  asm volatile("bar.sync 1, %0;" ::"n"(kChainThreads) : "memory");
}

// The row's sum: lane l of the first warp adds weights l, l + 16, ... in order. The result is the first warp's.
__device__ float sum_of_row(const PlainJob& job, int64_t r, float (&stages)[kStages][kChunk]) {
  const float* weights = job.weights + r * job.chunks * kChunk;
  const int thread = static_cast<int>(threadIdx.x);
  const auto copy = [&](int64_t chunk) {
    if (chunk < job.chunks && thread >= 32) {
      for (int i = (thread - 32) * 4; i < kChunk; i += (kChainThreads - 32) * 4)
        __pipeline_memcpy_async(&stages[chunk % kStages][i], weights + chunk * kChunk + i, 16);
    }
    __pipeline_commit();
  };
  for (int64_t c = 0; c < kStages - 1; ++c) copy(c);
  float lane = 0.0f;
  for (int64_t c = 0; c < job.chunks; ++c) {
    __pipeline_wait_prior(kStages - 2);
    chain_barrier();
    copy(c + kStages - 1);
    if (thread >= 32) continue;
    const float* const e = stages[c % kStages];
    const int64_t n = min(job.V - c * kChunk, static_cast<int64_t>(kChunk));
    lane = fold<32>(
        lane, n, [&](int64_t i) { return e[i]; },
        [](float sum, float weight) { return __fadd_rn(sum, weight); });
  }
  return tree_sum(lane);
}

__global__ void __launch_bounds__(kThreads) draw_from(PlainJob job) {
  __shared__ __align__(16) float stages[kStages][kChunk];
  __shared__ int64_t token;
  __shared__ float total;
  const int64_t r = blockIdx.x;
  const PlainRow row = job.rows[r];
  const float max = row_maximum(job, r);
  __syncthreads();
  if (threadIdx.x >= kChainThreads) {
    int64_t drawn = kNone;
    if (row.greedy) {
      int first = kNone;
      for (int64_t c = threadIdx.x % 32; c < job.chunks; c += 32)
        first = min(first, job.firsts[r * job.chunks + c]);
      drawn = __reduce_min_sync(0xFFFFFFFFu, first);
    } else {
      drawn = invert(job, row, r);
    }
    if (threadIdx.x == kChainThreads) token = drawn;
  } else {
    const float sum = sum_of_row(job, r, stages);
    if (threadIdx.x == 0) total = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const float nan = __int_as_float(0x7FC00000);
  if (!isfinite(total)) {
    job.out[r] = {kNotNumbers, nan};
  } else if (!isfinite(max)) {
    job.out[r] = {kNothingLeft, nan};
  } else if (token < 0 || token >= job.V) {
    job.out[r] = {kNoneLeft, nan};
  } else {
    const auto log_sum = static_cast<float>(exact_log(static_cast<double>(total)));
    job.out[r] = {static_cast<int32_t>(token), __fsub_rn(__fsub_rn(job.tempered(row, token), max), log_sum)};
  }
}

bool is_plain(const RowToSample& row) {
  const SamplingParams& p = *row.params;
  return row.history == nullptr && row.allowed.empty() && p.top_k == 0 && p.top_p >= 1 && p.min_p <= 0;
}

}  // namespace

bool draws_plainly(const SampleRows& call, bool measuring) {
  const auto S = std::ssize(call.rows);
  if (S == 0 || call.V < kLeastLogits) return false;
  return measuring || std::ranges::all_of(call.rows, is_plain);
}

void draw_plainly(Context& ctx, const SampleRows& call) {
  const OpScope scope(ctx);
  const int64_t S = std::ssize(call.rows);
  PlainJob job{};
  job.V = call.V;
  job.chunks = ceil_div(call.V, kChunk);
  const int64_t most = std::max<int64_t>(1, kMostWeights / (job.chunks * kChunk)),
                at_once = ceil_div(S, ceil_div(S, most));
  job.maxima = ctx.arena.array<float>(at_once * job.chunks);
  job.firsts = ctx.arena.array<int32_t>(at_once * job.chunks);
  job.weights = ctx.arena.array<float>(at_once * job.chunks * kChunk);
  job.block_sums = ctx.arena.array<double>(at_once * job.chunks * kBlocksHere);
  job.out = call.drawn != nullptr ? call.drawn : ctx.arena.array<Sampled>(S);
  auto* rows = ctx.host().array<PlainRow>(S);
  if (ctx.measuring) return;
  for (int64_t i = 0; i < S; ++i) {
    const RowToSample& row = call.rows[static_cast<size_t>(i)];
    const float temperature = row.params->temperature;
    R1_CHECK(temperature >= 0 && row.uniform >= 0 && row.uniform < 1, "temperature ", temperature,
             ", uniform ", row.uniform);
    rows[i] = {row.logits.f32(), temperature == 0 ? 1.0f : 1.0f / temperature, row.uniform, temperature == 0};
  }
  Upload upload(ctx);
  const int list = upload.add(std::span<const PlainRow>(rows, static_cast<size_t>(S)));
  upload.send();
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const PlainRow* const all = upload.at<PlainRow>(list);
  Sampled* const drawn = job.out;
  for (int64_t first = 0; first < S; first += at_once) {
    job.rows = all + first;
    job.out = drawn + first;
    const auto count = static_cast<unsigned>(std::min(at_once, S - first));
    const dim3 grid(static_cast<unsigned>(job.chunks), count);
    chunk_maxima<<<grid, kThreads, 0, stream>>>(job);
    check_launch("sample maxima");
    chunk_weights<<<grid, kThreads, 0, stream>>>(job);
    check_launch("sample weights");
    draw_from<<<count, kThreads, 0, stream>>>(job);
    check_launch("sample draw");
  }
  if (call.drawn == nullptr) ctx.memory().read(call.out.data(), drawn, call.out.size_bytes(), ctx.stream);
}

}  // namespace r1::cuda
