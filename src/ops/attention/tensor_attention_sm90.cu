// ops/attention/tensor_attention_sm90.cu: the forward of tensor_attention_sm90.h.
//
// A block has 64 query rows of one (row of the batch, group) per warpgroup, and one more warpgroup, which copies: the queries
// once, then stages of 64 keys and values, as far ahead as there is room. While one warpgroup weighs its scores, the
// tensor cores work for the others. Sums of earlier parts, which are touched every fourth block, lie in shared memory.
#include <algorithm>
#include <cstdint>
#include <span>

#include "ops/attention/attention_wgmma_cuda.cuh"
#include "ops/attention/tensor_attention_sm90.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

constexpr float kInfinity = __builtin_huge_valf();
constexpr int kBlocksOfPart = kPartKeys / kBlockKeys;

struct WgmmaForwardJob {
  int H, G, K, V, heads;  // heads: per group
  Quotient by_heads;
  float scale_log2;  // c
  const uint16_t *q, *k, *v;
  uint16_t* out;
  float *unrounded, *maxima, *sums;  // may be null
};

// Blocks of kGroups warpgroups and the copiers, of which kBlocks share a multiprocessor. All threads have the same
// number of registers at the launch; the copiers give up what the others take.
template <int kGroups_, int kWidth_, int kStages_, int kBlocks_, int kRegisters_, int kCopierRegisters_>
struct ForwardPlan {
  static constexpr int kGroups = kGroups_, kWidth = kWidth_, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kRegisters = kRegisters_, kCopierRegisters = kCopierRegisters_;
  static constexpr int kRows = 64 * kGroups, kThreads = 128 * kGroups + kCopiers;
  using Queries = WgmmaTile<kRows, kWidth>;
  using Keys = WgmmaTile<kBlockKeys, kWidth>;
  using Barriers = StageBarriers<kStages>;
  static constexpr int kStageBytes = 2 * Keys::kBytes;                        // keys, then values
  static constexpr int kEarlierAt = Queries::kBytes + kStages * kStageBytes;  // sums of earlier parts
  static constexpr int kBarriersAt = kEarlierAt + kRows * kWidth * 4;
  static constexpr int kBytes = kBarriersAt + Barriers::kBytes;
  static_assert(kBlocks * (kBytes + 1024) <= 227 * 1024, "sm_90 has no more per multiprocessor");
  static __device__ __forceinline__ uint32_t stage(uint32_t memory, int n) {
    return memory + Queries::kBytes + static_cast<uint32_t>(Barriers::stage(n) * kStageBytes);
  }
};

template <class Plan>
__device__ __forceinline__ void copy_tiles(const WgmmaForwardJob& f, const TileOfQueries& t, uint32_t memory,
                                           typename Plan::Barriers barriers) {
  const int copier = static_cast<int>(threadIdx.x) - 128 * Plan::kGroups, warp = copier / 32,
            lane = copier % 32;
  const int row = warp * (Plan::kRows / kCopyWarps) + lane;
  copy_lines<Plan::kRows, Plan::kWidth>(memory, f.q, f.K, warp, query_line(t, f.by_heads, f.heads, f.H, row));
  barrier_arrive_after_copies(barriers.once());
  const int keys = last_key(t, f.by_heads, t.rows - 1) + 1;
  int key = warp * (kBlockKeys / kCopyWarps) + lane;
#pragma unroll 1
  for (int n = 0; n * kBlockKeys < keys; ++n, key += kBlockKeys) {
    const int32_t line = key < keys ? token_of(t, key) * f.G + t.g : -1;
    barriers.wait_empty(n);
    const uint32_t to = Plan::stage(memory, n);
    copy_lines<kBlockKeys, Plan::kWidth>(to, f.k, f.K, warp, line);
    copy_lines<kBlockKeys, Plan::kWidth>(to + Plan::Keys::kBytes, f.v, f.V, warp, line);
    barrier_arrive_after_copies(barriers.full(n));
  }
  copy_commit();
  copy_wait<0>();
}

// The sums of a thread's two rows (g and g + 8 of its warp) over a part of the keys.
struct PartSums {
  float m[2], l[2];
};

__device__ __forceinline__ void clear_part(PartSums& part, float* o, int count) {
#pragma unroll
  for (int h = 0; h < 2; ++h) part.m[h] = -kInfinity, part.l[h] = 0.0f;
#pragma unroll
  for (int e = 0; e < count; ++e) o[e] = 0.0f;
}

// Closes a part and merges it into the earlier ones: their sums lie at earlier[e * 128]. kLast: the merged sums stay in
// the part's registers.
template <bool kLast, int kCount>
__device__ __forceinline__ void end_part(PartSums& all, PartSums& part, float (&o)[kCount], float* earlier,
                                         bool first, float c) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    part.l[h] = __fadd_rn(part.l[h], __shfl_xor_sync(~0u, part.l[h], 1));
    part.l[h] = __fadd_rn(part.l[h], __shfl_xor_sync(~0u, part.l[h], 2));
  }
  if (first) {
    all = part;
    if constexpr (!kLast) {
#pragma unroll
      for (int e = 0; e < kCount; ++e) earlier[e * 128] = o[e];
    }
    return;
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float most = fmaxf(all.m[h], part.m[h]), reference = reference_of(most);
    const float a = rescale_of(all.m[h], reference, c), b = rescale_of(part.m[h], reference, c);
    all.m[h] = most;
    all.l[h] = __fmaf_rn(part.l[h], b, __fmul_rn(all.l[h], a));
#pragma unroll
    for (int e = 2 * h; e < kCount; e += e % 2 == 0 ? 1 : 3) {
      const float sum = __fmaf_rn(o[e], b, __fmul_rn(earlier[e * 128], a));
      if constexpr (kLast) {
        o[e] = sum;
      } else {
        earlier[e * 128] = sum;
      }
    }
  }
}

// Scores of a block become weights, rounded: weights[step] is A of the products with the block's values. Rescales l and
// the sums to the new maximum.
template <int kCount>
__device__ __forceinline__ void weigh(float (&s)[kBlockKeys / 2], PartSums& part, float (&o)[kCount],
                                      uint32_t (&weights)[kBlockSteps][4], float c) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float most = part.m[h];
#pragma unroll
    for (int n = 0; n < kBlockKeys / 8; ++n)
      most = fmaxf(most, fmaxf(s[4 * n + 2 * h], s[4 * n + 2 * h + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const float reference = reference_of(most), yc = __fmul_rn(reference, c);
    const float a = rescale_of(part.m[h], reference, c);
    part.m[h] = most;
    float l = __fmul_rn(part.l[h], a);
#pragma unroll
    for (int n = 0; n < kBlockKeys / 8; ++n) {
      const float low = weight_of(s[4 * n + 2 * h], c, yc), high = weight_of(s[4 * n + 2 * h + 1], c, yc);
      l = __fadd_rn(__fadd_rn(l, low), high);
      weights[n / 2][n % 2 * 2 + h] = pack_bf16(low, high);
    }
    part.l[h] = l;
    // Times 1 changes nothing, and most blocks raise no maximum.
    if (__any_sync(~0u, a != 1.0f)) {
#pragma unroll
      for (int n = 0; n < kCount / 4; ++n) {
        o[4 * n + 2 * h] = __fmul_rn(o[4 * n + 2 * h], a);
        o[4 * n + 2 * h + 1] = __fmul_rn(o[4 * n + 2 * h + 1], a);
      }
    }
  }
}

template <int kCount>
__device__ __forceinline__ void store_rows(const WgmmaForwardJob& f, const TileOfQueries& t, int r0,
                                           const PartSums& all, const float (&o)[kCount]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, column = lane % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = r0 + 8 * h;
    const int64_t line = query_line(t, f.by_heads, f.heads, f.H, r);
    if (line < 0) continue;
    const float inverse = __fdiv_rn(1.0f, all.l[h]);
    if (lane % 4 == 0 && f.maxima != nullptr) f.maxima[line] = all.m[h], f.sums[line] = all.l[h];
    uint16_t* const to = f.out + line * f.V + column;
#pragma unroll
    for (int n = 0; n < kCount / 4; ++n) {
      if (8 * n >= f.V) break;
      const float low = __fmaf_rn(o[4 * n + 2 * h], inverse, 0.0f),
                  high = __fmaf_rn(o[4 * n + 2 * h + 1], inverse, 0.0f);
      *reinterpret_cast<uint32_t*>(to + 8 * n) = pack_bf16(low, high);
      if (f.unrounded != nullptr)
        *reinterpret_cast<float2*>(f.unrounded + line * f.V + column + 8 * n) = {low, high};
    }
  }
}

template <class Plan>
__device__ __forceinline__ void attend_tile(const WgmmaForwardJob& f, const TileOfQueries& t, uint32_t memory,
                                            float* earlier, typename Plan::Barriers barriers) {
  const int warp = for_warp(static_cast<int>(threadIdx.x) / 32), group = warp / 4,
            lane = static_cast<int>(threadIdx.x) % 32, r0 = 16 * warp + lane / 4;
  // The last keys that this thread's rows see, and the first row of its warp.
  const int last[2] = {last_key(t, f.by_heads, r0), last_key(t, f.by_heads, r0 + 8)};
  const int warp_first = last_key(t, f.by_heads, 16 * warp);
  const int blocks = last_key(t, f.by_heads, t.rows - 1) / kBlockKeys + 1;
  const int own_blocks =
      for_warp(64 * group < t.rows ? last_key(t, f.by_heads, 64 * group + 63) / kBlockKeys + 1 : 0);
  const float c = f.scale_log2;
  earlier += group * 64 * Plan::kWidth + static_cast<int>(threadIdx.x) % 128;
  PartSums all{}, part;
  float o[Plan::kWidth / 2], s[kBlockKeys / 2];
  clear_part(part, o, Plan::kWidth / 2);
  const auto hand_back = [&](int block) {
    if (lane == 0) barrier_arrive(barriers.empty(block));
  };
  if (own_blocks > 0) barrier_wait(barriers.once(), 0);
    // No product is under way at the end of a turn: the compiler would let all of them wait for each other.
#pragma unroll 1
  for (int block = 0; block < own_blocks; ++block) {
    if (block % kBlocksOfPart == 0 && block > 0) {
      end_part<false>(all, part, o, earlier, block == kBlocksOfPart, c);
      clear_part(part, o, Plan::kWidth / 2);
    }
    barriers.wait_full(block);
    wgmma_see_shared();
    wgmma_fence();
    begin_scores<kBlockKeys, Plan::kWidth, Plan::kRows, kBlockKeys>(s, memory, 64 * group,
                                                                    Plan::stage(memory, block));
    wgmma_wait<0>();
    wgmma_hold(s);
    const int key0 = block * kBlockKeys;
    if (key0 + kBlockKeys - 1 > warp_first) {
#pragma unroll
      for (int e = 0; e < kBlockKeys / 2; ++e)
        if (key0 + e / 4 * 8 + lane % 4 * 2 + e % 2 > last[e / 2 % 2]) s[e] = -kInfinity;
    }
    uint32_t weights[kBlockSteps][4];
    weigh(s, part, o, weights, c);
    wgmma_hold(o);
    wgmma_fence();
    begin_sums<Plan::kWidth, kBlockKeys>(o, weights, Plan::stage(memory, block) + Plan::Keys::kBytes);
    wgmma_wait<0>();
    wgmma_hold(o);
    hand_back(block);
  }
  if (own_blocks > 0) {
    end_part<true>(all, part, o, earlier, own_blocks <= kBlocksOfPart, c);
    store_rows(f, t, r0, all, o);
  }
  // Blocks that other warpgroups see: this one waits for them, so that it never hands back a stage twice.
#pragma unroll 1
  for (int block = own_blocks; block < blocks; ++block) {
    barriers.wait_full(block);
    hand_back(block);
  }
}

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, Plan::kBlocks)
    attend_rows(WgmmaForwardJob f, const TileOfQueries* tiles) {
#ifdef R1_HAS_WGMMA
  extern __shared__ __align__(kTileAlignment) uint8_t attention_stages[];
  const TileOfQueries t = tiles[blockIdx.x];
  const uint32_t memory = tile_memory(attention_stages);
  const typename Plan::Barriers barriers{memory + Plan::kBarriersAt};
  barriers.init(4 * Plan::kGroups);
  if (for_warp(static_cast<int>(threadIdx.x) / 32) >= 4 * Plan::kGroups) {
    give_registers<Plan::kCopierRegisters>();
    copy_tiles<Plan>(f, t, memory, barriers);
  } else {
    take_registers<Plan::kRegisters>();
    attend_tile<Plan>(f, t, memory, reinterpret_cast<float*>(attention_stages + Plan::kEarlierAt), barriers);
  }
#endif
}

template <class Plan>
void launch_rows(Context& ctx, const WgmmaForwardJob& f, const WholeRows& rows) {
  const std::span<const TileOfQueries> tiles =
      query_tiles(ctx.host(), rows, Plan::kRows, int64_t{Plan::kBlocks} * multiprocessors());
  Upload upload(ctx);
  const int list = upload.add(tiles);
  upload.send();
  if (ctx.measuring) return;
  const auto kernel = attend_rows<Plan>;
  allow_shared_bytes(kernel, Plan::kBytes);
  kernel<<<static_cast<unsigned>(tiles.size()), Plan::kThreads, Plan::kBytes,
           static_cast<cudaStream_t>(ctx.stream)>>>(f, upload.at<TileOfQueries>(list));
  check_launch("attention");
}

using NarrowPlan = ForwardPlan<2, 64, 4, 2, 104, 32>;
using WidePlan = ForwardPlan<2, 128, 4, 1, 232, 40>;

}  // namespace

bool wgmma_attends(const AttentionForward& call) {
  if (!has_wgmma() || !call.k || !on_tensor_cores(call.pages)) return false;
  const Batch& batch = call.batch;
  const int64_t heads = call.q.dim(1) / call.pages.G;
  if (batch.T() * call.q.dim(1) > INT32_MAX) return false;
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.S(); ++s) {
    const int64_t first = batch.offsets[static_cast<size_t>(s)],
                  n = batch.offsets[static_cast<size_t>(s + 1)] - first;
    if (n > 0 && batch.positions[static_cast<size_t>(first)] != 0 && batch.parent(s) < 0) return false;
    longest = std::max(longest, n);
  }
  return longest * heads > kFewRows && lies_in_vectors(call.q) && lies_in_vectors(call.k) &&
         lies_in_vectors(call.v) && call.pages.V % kVector == 0 &&
         reinterpret_cast<uintptr_t>(call.out.data) % 4 == 0;
}

void wgmma_attention(Context& ctx, const AttentionForward& call) {
  const OpScope scope(ctx);
  WgmmaForwardJob f{};
  f.H = static_cast<int>(call.q.dim(1)), f.G = static_cast<int>(call.pages.G);
  f.K = static_cast<int>(call.pages.K), f.V = static_cast<int>(call.pages.V);
  f.heads = f.H / f.G;
  f.by_heads = Quotient::by(f.heads);
  f.scale_log2 = call.scale * kLog2E;
  f.q = static_cast<const uint16_t*>(call.q.data), f.k = static_cast<const uint16_t*>(call.k.data);
  f.v = static_cast<const uint16_t*>(call.v.data), f.out = static_cast<uint16_t*>(call.out.data);
  f.maxima = call.saved.maxima, f.sums = call.saved.sums;
  if (call.saved.out) f.unrounded = call.saved.out.f32();
  const Batch& batch = call.batch;
  const WholeRows rows{
      batch.S(), batch.offsets.data(), batch.parents.empty() ? nullptr : batch.parents.data(), f.H, f.G, f.K,
      f.V};
  if (std::max(f.K, f.V) <= kPanelWidth) return launch_rows<NarrowPlan>(ctx, f, rows);
  launch_rows<WidePlan>(ctx, f, rows);
}

}  // namespace r1::cuda
