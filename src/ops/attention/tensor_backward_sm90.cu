// ops/attention/tensor_backward_sm90.cu: the backward of tensor_attention_cuda.h by wgmma, on Hopper GPUs (sm_90a).
//
//   attend_keys      dk and dv of 64 keys: the query rows that see them pass by
//   attend_queries   dq of 64 query rows per warpgroup: the keys pass by, 64 at a time
//
// One more warpgroup copies. Probabilities and their gradients go from accumulators to operands without leaving their
// registers, in both kernels, since the first has keys as its rows and the second queries. So nothing is exchanged, at
// the price of scores that are computed twice: seven products in place of five. A single kernel would have to add dq of
// every block of keys in memory, in order: eight bytes per query, dimension and block, which takes longer.
#include <algorithm>
#include <cstdint>

#include "ops/attention/attention_wgmma_cuda.cuh"
#include "ops/attention/tensor_backward_cuda.cuh"
#include "tensor/cuda.h"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

// kBlocks blocks share a multiprocessor. All threads have the same number of registers at the launch; the copiers give
// up what the others take.
template <int kWidth_, int kPassing_, int kStages_, int kBlocks_, int kRegisters_, int kCopierRegisters_>
struct KeyPlan {
  static constexpr int kWidth = kWidth_, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kPassing = kPassing_;  // query rows of a stage
  static constexpr int kRegisters = kRegisters_, kCopierRegisters = kCopierRegisters_;
  static constexpr int kThreads = 128 + kCopiers;
  using Keys = WgmmaTile<kTileKeys, kWidth>;
  using Queries = WgmmaTile<kPassing, kWidth>;
  using Barriers = StageBarriers<kStages>;
  static constexpr int kStageBytes = 2 * Queries::kBytes;                    // queries, then d_o
  static constexpr int kFactsAt = 2 * Keys::kBytes + kStages * kStageBytes;  // behind keys and values
  static constexpr int kFactsBytes = 2 * 4 * kPassing;                       // log_sums, then deltas
  static constexpr int kBarriersAt = kFactsAt + kStages * kFactsBytes;
  static constexpr int kBytes = kBarriersAt + Barriers::kBytes;
  static_assert(kBlocks * (kBytes + 1024) <= 227 * 1024, "sm_90 has no more per multiprocessor");
  static __device__ __forceinline__ uint32_t stage(uint32_t memory, int n) {
    return memory + 2 * Keys::kBytes + static_cast<uint32_t>(Barriers::stage(n) * kStageBytes);
  }
  static __device__ __forceinline__ int facts_at(int n) {
    return kFactsAt + Barriers::stage(n) * kFactsBytes;
  }
};

template <int kGroups_, int kWidth_, int kStages_, int kBlocks_, int kRegisters_, int kCopierRegisters_>
struct QueryPlan {
  static constexpr int kGroups = kGroups_, kWidth = kWidth_, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kRegisters = kRegisters_, kCopierRegisters = kCopierRegisters_;
  static constexpr int kRows = 64 * kGroups, kThreads = 128 * kGroups + kCopiers;
  using Queries = WgmmaTile<kRows, kWidth>;
  using Keys = WgmmaTile<kBlockKeys, kWidth>;
  using Barriers = StageBarriers<kStages>;
  static constexpr int kStageBytes = 2 * Keys::kBytes;  // keys, then values; behind queries and d_o
  static constexpr int kBarriersAt = 2 * Queries::kBytes + kStages * kStageBytes;
  static constexpr int kBytes = kBarriersAt + Barriers::kBytes;
  static_assert(kBlocks * (kBytes + 1024) <= 227 * 1024, "sm_90 has no more per multiprocessor");
  static __device__ __forceinline__ uint32_t stage(uint32_t memory, int n) {
    return memory + 2 * Queries::kBytes + static_cast<uint32_t>(Barriers::stage(n) * kStageBytes);
  }
};

// Accumulators become A of the next products: operand[step] is of 16 columns.
template <int kColumns>
__device__ __forceinline__ void round_to_operand(uint32_t (&operand)[kColumns / 16][4],
                                                 const float (&d)[kColumns / 2]) {
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
    operand[n / 2][n % 2 * 2] = pack_bf16(d[4 * n], d[4 * n + 1]);
    operand[n / 2][n % 2 * 2 + 1] = pack_bf16(d[4 * n + 2], d[4 * n + 3]);
  }
}

// Stores a thread's sums; its rows g and g + 8 of the warp go to at(0) and at(1), null: nowhere. The width is even.
template <int kCount, class At>
__device__ __forceinline__ void store_sums(const float (&sums)[kCount], float scale, int width, bool add,
                                           const At& at) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float* const to = at(h);
    if (to == nullptr) continue;
#pragma unroll
    for (int n = 0; n < kCount / 4; ++n) {
      if (8 * n >= width) break;
      float2 sum = {finished(sums[4 * n + 2 * h], scale), finished(sums[4 * n + 2 * h + 1], scale)};
      auto* const place = reinterpret_cast<float2*>(to + 8 * n + column);
      if (add) sum = {__fadd_rn(place->x, sum.x), __fadd_rn(place->y, sum.y)};
      *place = sum;
    }
  }
}

template <class Plan>
__device__ __forceinline__ void copy_queries(const TensorBackwardJob& b, const TileOfKeys& t, uint32_t memory,
                                             typename Plan::Barriers barriers) {
  constexpr int kPassing = Plan::kPassing, kWidth = Plan::kWidth, kEach = kPassing / kCopyWarps;
  const int copier = static_cast<int>(threadIdx.x) - 128, warp = copier / 32, lane = copier % 32;
  const int key = warp * (kTileKeys / kCopyWarps) + lane;
  const int32_t key_line = key < t.keys ? (t.token + key) * b.G + t.g : -1;
  copy_lines<kTileKeys, kWidth>(memory, b.k, b.K, warp, key_line);
  copy_lines<kTileKeys, kWidth>(memory + Plan::Keys::kBytes, b.v, b.V, warp, key_line);
  barrier_arrive_after_copies(barriers.once());
  int row = t.begin + warp * kEach + lane;
#pragma unroll 1
  for (int n = 0; t.begin + n * kPassing < t.end; ++n, row += kPassing) {
    const int token = b.by_heads.of(row);
    const int32_t line =
        row < t.end ? (t.query_token + token) * b.H + t.g * b.heads + row - token * b.heads : -1;
    barriers.wait_empty(n);
    const uint32_t to = Plan::stage(memory, n);
    copy_lines<kPassing, kWidth>(to, b.q, b.K, warp, line);
    copy_lines<kPassing, kWidth>(to + Plan::Queries::kBytes, b.d_o, b.V, warp, line);
    if (lane < kEach) {
      const uint32_t facts = memory + static_cast<uint32_t>(Plan::facts_at(n) + 4 * (warp * kEach + lane));
      const int32_t from = line < 0 ? 0 : line;
      copy_float(facts, b.log_sums + from, line >= 0);
      copy_float(facts + 4 * kPassing, b.deltas + from, line >= 0);
    }
    barrier_arrive_after_copies(barriers.full(n));
  }
  copy_commit();
  copy_wait<0>();
}

template <class Plan>
__device__ __forceinline__ void sum_for_keys(const TensorBackwardJob& b, const TileOfKeys& t, uint32_t memory,
                                             const uint8_t* shared, typename Plan::Barriers barriers) {
  constexpr int kPassing = Plan::kPassing, kWidth = Plan::kWidth;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32,
            key = 16 * warp + lane / 4;
  const int first_rows[2] = {t.begin + key * b.heads,
                             t.begin + (key + 8) * b.heads};  // the first rows that see this thread's keys
  const int all_see = for_warp(t.begin + (kTileKeys - 1) * b.heads);
  const float c = b.scale_log2;
  float dk[kWidth / 2], dv[kWidth / 2], s[kPassing / 2], slopes[kPassing / 2];
#pragma unroll
  for (int e = 0; e < kWidth / 2; ++e) dk[e] = dv[e] = 0.0f;
  barrier_wait(barriers.once(), 0);
#pragma unroll 1
  for (int n = 0; t.begin + n * kPassing < t.end; ++n) {
    barriers.wait_full(n);
    wgmma_see_shared();
    const uint32_t queries = Plan::stage(memory, n), d_o = queries + Plan::Queries::kBytes;
    wgmma_fence();
    begin_scores<kPassing, kWidth, kTileKeys, kPassing>(s, memory, 0, queries);
    begin_scores<kPassing, kWidth, kTileKeys, kPassing>(slopes, memory + Plan::Keys::kBytes, 0, d_o);
    const auto* const log_sums = reinterpret_cast<const float2*>(shared + Plan::facts_at(n)) + lane % 4;
    wgmma_wait<1>();
    wgmma_hold(s);
#pragma unroll
    for (int i = 0; i < kPassing / 8; ++i) {
      const float2 log_sum = log_sums[4 * i];
#pragma unroll
      for (int e = 4 * i; e < 4 * i + 4; ++e)
        s[e] = probability_of(s[e], c, e % 2 == 0 ? log_sum.x : log_sum.y);
    }
    const int row0 = t.begin + n * kPassing;
    if (row0 < all_see) {
#pragma unroll
      for (int e = 0; e < kPassing / 2; ++e)
        if (row0 + e / 4 * 8 + lane % 4 * 2 + e % 2 < first_rows[e / 2 % 2]) s[e] = 0.0f;
    }
    uint32_t weights[kPassing / 16][4];
    round_to_operand<kPassing>(weights, s);
    wgmma_wait<0>();
    wgmma_fence();
    begin_sums<kWidth, kPassing>(dv, weights, d_o);
    wgmma_hold(slopes);  // so that what follows runs beside these products
    const auto* const deltas = log_sums + kPassing / 2;
#pragma unroll
    for (int i = 0; i < kPassing / 8; ++i) {
      const float2 delta = deltas[4 * i];
#pragma unroll
      for (int e = 4 * i; e < 4 * i + 4; ++e)
        slopes[e] = __fmul_rn(s[e], __fsub_rn(slopes[e], e % 2 == 0 ? delta.x : delta.y));
    }
    uint32_t rounded[kPassing / 16][4];
    round_to_operand<kPassing>(rounded, slopes);
    wgmma_fence();
    begin_sums<kWidth, kPassing>(dk, rounded, queries);
    wgmma_wait<0>();
    wgmma_hold(dv);
    wgmma_hold(dk);
    if (lane == 0) barrier_arrive(barriers.empty(n));
  }
  const auto place = [&](float* gradient, int width) {
    return [=](int h) {
      return gradient != nullptr && key + 8 * h < t.keys
                 ? gradient + (int64_t{t.token + key + 8 * h} * b.G + t.g) * width
                 : nullptr;
    };
  };
  store_sums(dk, b.scale, b.K, b.add_dk, place(b.dk, b.K));
  store_sums(dv, 1.0f, b.V, b.add_dv, place(b.dv, b.V));
}

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, Plan::kBlocks)
    attend_keys(TensorBackwardJob b, const TileOfKeys* tiles) {
#ifdef R1_HAS_WGMMA
  extern __shared__ __align__(kTileAlignment) uint8_t gradient_stages[];
  const TileOfKeys t = tiles[blockIdx.x];
  const uint32_t memory = tile_memory(gradient_stages);
  const typename Plan::Barriers barriers{memory + Plan::kBarriersAt};
  barriers.init(4);
  if (for_warp(static_cast<int>(threadIdx.x) / 32) >= 4) {
    give_registers<Plan::kCopierRegisters>();
    copy_queries<Plan>(b, t, memory, barriers);
  } else {
    take_registers<Plan::kRegisters>();
    sum_for_keys<Plan>(b, t, memory, gradient_stages, barriers);
  }
#endif
}

template <class Plan>
__device__ __forceinline__ void copy_keys(const TensorBackwardJob& b, const TileOfQueries& t, uint32_t memory,
                                          typename Plan::Barriers barriers) {
  constexpr int kWidth = Plan::kWidth;
  const int copier = static_cast<int>(threadIdx.x) - 128 * Plan::kGroups, warp = copier / 32,
            lane = copier % 32;
  const int32_t row = query_line(t, b.by_heads, b.heads, b.H, warp * (Plan::kRows / kCopyWarps) + lane);
  copy_lines<Plan::kRows, kWidth>(memory, b.q, b.K, warp, row);
  copy_lines<Plan::kRows, kWidth>(memory + Plan::Queries::kBytes, b.d_o, b.V, warp, row);
  barrier_arrive_after_copies(barriers.once());
  const int seen = last_key(t, b.by_heads, t.rows - 1) + 1;
  int key = warp * (kBlockKeys / kCopyWarps) + lane;
#pragma unroll 1
  for (int n = 0; n * kBlockKeys < seen; ++n, key += kBlockKeys) {
    const int32_t line = key < seen ? token_of(t, key) * b.G + t.g : -1;
    barriers.wait_empty(n);
    const uint32_t to = Plan::stage(memory, n);
    copy_lines<kBlockKeys, kWidth>(to, b.k, b.K, warp, line);
    copy_lines<kBlockKeys, kWidth>(to + Plan::Keys::kBytes, b.v, b.V, warp, line);
    barrier_arrive_after_copies(barriers.full(n));
  }
  copy_commit();
  copy_wait<0>();
}

template <class Plan>
__device__ __forceinline__ void sum_for_queries(const TensorBackwardJob& b, const TileOfQueries& t,
                                                uint32_t memory, typename Plan::Barriers barriers) {
  constexpr int kWidth = Plan::kWidth;
  const int warp = for_warp(static_cast<int>(threadIdx.x) / 32), group = warp / 4,
            lane = static_cast<int>(threadIdx.x) % 32, r0 = 16 * warp + lane / 4;
  const int last[2] = {last_key(t, b.by_heads, r0), last_key(t, b.by_heads, r0 + 8)};
  const int warp_first = last_key(t, b.by_heads, 16 * warp);
  const int32_t lines[2] = {query_line(t, b.by_heads, b.heads, b.H, r0),
                            query_line(t, b.by_heads, b.heads, b.H, r0 + 8)};
  float log_sum[2], delta[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    log_sum[h] = lines[h] < 0 ? 0.0f : b.log_sums[lines[h]];
    delta[h] = lines[h] < 0 ? 0.0f : b.deltas[lines[h]];
  }
  const int blocks = last_key(t, b.by_heads, t.rows - 1) / kBlockKeys + 1;
  const int own_blocks =
      for_warp(64 * group < t.rows ? last_key(t, b.by_heads, 64 * group + 63) / kBlockKeys + 1 : 0);
  const float c = b.scale_log2;
  float dq[kWidth / 2], s[kBlockKeys / 2], slopes[kBlockKeys / 2];
#pragma unroll
  for (int e = 0; e < kWidth / 2; ++e) dq[e] = 0.0f;
  if (own_blocks > 0) barrier_wait(barriers.once(), 0);
#pragma unroll 1
  for (int n = 0; n < own_blocks; ++n) {
    barriers.wait_full(n);
    wgmma_see_shared();
    const uint32_t keys = Plan::stage(memory, n), values = keys + Plan::Keys::kBytes;
    wgmma_fence();
    begin_scores<kBlockKeys, kWidth, Plan::kRows, kBlockKeys>(s, memory, 64 * group, keys);
    begin_scores<kBlockKeys, kWidth, Plan::kRows, kBlockKeys>(slopes, memory + Plan::Queries::kBytes,
                                                              64 * group, values);
    wgmma_wait<1>();
    wgmma_hold(s);
#pragma unroll
    for (int e = 0; e < kBlockKeys / 2; ++e) s[e] = probability_of(s[e], c, log_sum[e / 2 % 2]);
    const int key0 = n * kBlockKeys;
    if (key0 + kBlockKeys - 1 > warp_first) {
#pragma unroll
      for (int e = 0; e < kBlockKeys / 2; ++e)
        if (key0 + e / 4 * 8 + lane % 4 * 2 + e % 2 > last[e / 2 % 2]) s[e] = 0.0f;
    }
    wgmma_wait<0>();
    wgmma_hold(slopes);
#pragma unroll
    for (int e = 0; e < kBlockKeys / 2; ++e)
      slopes[e] = __fmul_rn(s[e], __fsub_rn(slopes[e], delta[e / 2 % 2]));
    uint32_t rounded[kBlockSteps][4];
    round_to_operand<kBlockKeys>(rounded, slopes);
    wgmma_fence();
    begin_sums<kWidth, kBlockKeys>(dq, rounded, keys);
    wgmma_wait<0>();
    wgmma_hold(dq);
    if (lane == 0) barrier_arrive(barriers.empty(n));
  }
  store_sums(dq, b.scale, b.K, b.add_dq,
             [&](int h) { return lines[h] >= 0 ? b.dq + int64_t{lines[h]} * b.K : nullptr; });
  // Blocks that other warpgroups see: this one waits for them, so that it never hands back a stage twice.
#pragma unroll 1
  for (int n = own_blocks; n < blocks; ++n) {
    barriers.wait_full(n);
    if (lane == 0) barrier_arrive(barriers.empty(n));
  }
}

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, Plan::kBlocks)
    attend_queries(TensorBackwardJob b, const TileOfQueries* tiles) {
#ifdef R1_HAS_WGMMA
  extern __shared__ __align__(kTileAlignment) uint8_t gradient_stages[];
  const TileOfQueries t = tiles[blockIdx.x];
  const uint32_t memory = tile_memory(gradient_stages);
  const typename Plan::Barriers barriers{memory + Plan::kBarriersAt};
  barriers.init(4 * Plan::kGroups);
  if (for_warp(static_cast<int>(threadIdx.x) / 32) >= 4 * Plan::kGroups) {
    give_registers<Plan::kCopierRegisters>();
    copy_keys<Plan>(b, t, memory, barriers);
  } else {
    take_registers<Plan::kRegisters>();
    sum_for_queries<Plan>(b, t, memory, barriers);
  }
#endif
}

using NarrowKeys = KeyPlan<64, 64, 4, 2, 216, 40>;
using WideKeys = KeyPlan<128, 32, 4, 2, 216, 40>;
using NarrowQueries = QueryPlan<1, 64, 3, 3, 128, 32>;
using WideQueries = QueryPlan<2, 128, 4, 1, 232, 40>;

template <class Plan, class Kernel, class Tile>
void launch_plan(Kernel kernel, const char* name, const TensorBackwardJob& b, const Tile* tiles,
                 int64_t count, void* stream) {
  allow_shared_bytes(kernel, Plan::kBytes);
  kernel<<<static_cast<unsigned>(count), Plan::kThreads, Plan::kBytes, static_cast<cudaStream_t>(stream)>>>(
      b, tiles);
  check_launch(name);
}

bool is_narrow(const TensorBackwardJob& b) {
  return std::max(b.K, b.V) <= kPanelWidth;
}

}  // namespace

bool wgmma_differentiates(const TensorBackwardJob& b) {
  return has_wgmma() && b.k_vectors && b.v_vectors && b.rows <= INT32_MAX;
}

int wgmma_query_rows(const TensorBackwardJob& b) {
  return is_narrow(b) ? NarrowQueries::kRows : WideQueries::kRows;
}

void wgmma_key_gradients(const TensorBackwardJob& b, const TileOfKeys* tiles, int64_t count, void* stream) {
  if (is_narrow(b))
    return launch_plan<NarrowKeys>(attend_keys<NarrowKeys>, "attention dk dv", b, tiles, count, stream);
  launch_plan<WideKeys>(attend_keys<WideKeys>, "attention dk dv", b, tiles, count, stream);
}

void wgmma_query_gradients(const TensorBackwardJob& b, const TileOfQueries* tiles, int64_t count,
                           void* stream) {
  if (is_narrow(b))
    return launch_plan<NarrowQueries>(attend_queries<NarrowQueries>, "attention dq", b, tiles, count, stream);
  launch_plan<WideQueries>(attend_queries<WideQueries>, "attention dq", b, tiles, count, stream);
}

}  // namespace r1::cuda
