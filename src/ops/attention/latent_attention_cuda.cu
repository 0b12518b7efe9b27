// ops/attention/latent_attention_cuda.cu: the forward of attention over latents.
//
//   write_latents  puts the batch's keys into their pages, a warp per token
//   attend         a group of warps has 16 query rows (row r is head r % H of token r / H) and walks blocks of 64
//                  keys, which serve as keys and as values; the groups of a block share them
//   merge_latents  merges parts that ran apart, a warp per row and 128 columns
//
// If the rows leave multiprocessors idle (decoding), each part of 256 keys has a block of its own.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/attention/decode_cuda.h"
#include "ops/attention/latent_forward_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr float kNoMaximum = -__builtin_huge_valf();
constexpr uint32_t kOnes = 0x3F803F80u;  // two ones in bf16

// A row's sums over a part; two rows per thread (lane / 4 of the group's, and that plus 8).
template <int kWide>
struct LatentSums {
  float m[2], l[4], o[kWide / 8][4];
};

// The sums over all parts so far. They are touched once per part: indices that the compiler does not know keep them in
// local memory.
template <int kWide>
struct KeptSums {
  float values[kWide / 2 + 4];
  int zero;
  __device__ __forceinline__ KeptSums() { asm volatile("mov.u32 %0, 0;" : "=r"(zero)); }
  __device__ __forceinline__ void keep(const LatentSums<kWide>& part) {
#pragma unroll
    for (int h = 0; h < 2; ++h) values[zero + h] = part.m[h], values[zero + 2 + h] = part.l[2 * h];
#pragma unroll
    for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) values[zero + 4 + 4 * n + e] = part.o[n][e];
    }
  }
  // `part` becomes the merge of what was kept and itself.
  __device__ __forceinline__ void merge_into(LatentSums<kWide>& part, float c) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float m = values[zero + h], most = fmaxf(m, part.m[h]), reference = reference_of(most);
      const float a = rescale_of(m, reference, c), b = rescale_of(part.m[h], reference, c);
      part.m[h] = most;
      part.l[2 * h] = __fmaf_rn(part.l[2 * h], b, __fmul_rn(values[zero + 2 + h], a));
#pragma unroll
      for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e)
          part.o[n][e] = __fmaf_rn(part.o[n][e], b, __fmul_rn(values[zero + 4 + 4 * n + e], a));
      }
    }
  }
};

template <int kWide>
__device__ __forceinline__ void begin_part(LatentSums<kWide>& part) {
#pragma unroll
  for (int h = 0; h < 2; ++h) part.m[h] = kNoMaximum;
#pragma unroll
  for (int e = 0; e < 4; ++e) part.l[e] = 0.0f;
  clear_sums(part.o);
}

// A warp's rows.
struct WarpRows {
  int group, warp, lane;  // warp: of the group
  int last[2];            // the last key that this thread's rows see
};

// Scores of a block of keys, of the warp's slice of it: scores[n] are keys first + 8 n of the block.
template <class Tile>
__device__ __forceinline__ void score_keys(float (&s)[Tile::kSlice / 8][4], uint32_t queries, uint32_t keys) {
  using Line = typename Tile::Line;
  clear_sums(s);
#pragma unroll
  for (int step = 0; step < Tile::kK / 16; ++step) {
    uint32_t a[4];
    load_blocks_at<false>(a, queries + 32 * step);
#pragma unroll
    for (int n = 0; n < Tile::kSlice / 16; ++n) {
      uint32_t b[4];
      load_blocks_at<false>(b, keys + n * 16 * Line::kLineBytes + 32 * step);
      tensor_mma(s[2 * n], a, b);
      tensor_mma(s[2 * n + 1], a, b + 2);
    }
  }
}

// The rows' maximum over a block and what came before it: over the warps of the group.
template <class Tile>
__device__ __forceinline__ void raise_maxima(float (&most)[2], const float (&s)[Tile::kSlice / 8][4],
                                             float* maxima, const WarpRows& w) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float here = kNoMaximum;
#pragma unroll
    for (int n = 0; n < Tile::kSlice / 8; ++n) here = fmaxf(here, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    here = fmaxf(here, __shfl_xor_sync(~0u, here, 1));
    here = fmaxf(here, __shfl_xor_sync(~0u, here, 2));
    most[h] = fmaxf(most[h], here);
  }
  if constexpr (Tile::kC > 1) {
    float* const mine = maxima + 16 * Tile::kC * w.group + w.lane / 4;
    if (w.lane % 4 == 0) mine[16 * w.warp] = most[0], mine[16 * w.warp + 8] = most[1];
    await_group<Tile::kGroupThreads>(w.group);
#pragma unroll
    for (int i = 0; i < Tile::kC; ++i) {
      most[0] = fmaxf(most[0], mine[16 * i]);
      most[1] = fmaxf(most[1], mine[16 * i + 8]);
    }
  }
}

// One block of keys: `part` goes on with it. Addresses are this lane's.
template <class Tile>
__device__ __forceinline__ void attend_block(LatentSums<Tile::kWide>& part, int key0, bool masked, float c,
                                             uint32_t queries, uint32_t slice, uint32_t values,
                                             uint16_t* weights, uint32_t weights_a, float* maxima,
                                             const WarpRows& w) {
  constexpr int kSlice = Tile::kSlice, kWide = Tile::kWide;
  using Line = typename Tile::Line;
  float s[kSlice / 8][4];
  score_keys<Tile>(s, queries, slice);
  const int column = w.lane % 4 * 2;
  if (masked) {
    const int first = key0 + kSlice * w.warp * (Tile::kC > 1) + column;
#pragma unroll
    for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (first + 8 * n + e % 2 > w.last[e / 2]) s[n][e] = kNoMaximum;
    }
  }
  float most[2] = {part.m[0], part.m[1]};
  raise_maxima<Tile>(most, s, maxima, w);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float reference = reference_of(most[h]), yc = __fmul_rn(reference, c);
    const float a = rescale_of(part.m[h], reference, c);
    part.m[h] = most[h];
#pragma unroll
    for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
      for (int e = 2 * h; e < 2 * h + 2; ++e) s[n][e] = weight_of(s[n][e], c, yc);
    }
    // Times 1 changes nothing, and most blocks raise no maximum.
    if (__any_sync(~0u, a != 1.0f)) {
#pragma unroll
      for (int e = 2 * h; e < 2 * h + 2; ++e) part.l[e] = __fmul_rn(part.l[e], a);
#pragma unroll
      for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) part.o[n][e] = __fmul_rn(part.o[n][e], a);
      }
    }
  }
  if constexpr (Tile::kC > 1) {
    uint16_t* const to =
        weights + (16 * w.group + w.lane / 4) * Tile::Weights::kPitch + kSlice * w.warp + column;
#pragma unroll
    for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *reinterpret_cast<uint32_t*>(to + 8 * h * Tile::Weights::kPitch + 8 * n) =
            pack_bf16(s[n][2 * h], s[n][2 * h + 1]);
    }
    await_group<Tile::kGroupThreads>(w.group);
  }
  constexpr uint32_t ones[2] = {kOnes, kOnes};
#pragma unroll
  for (int step = 0; step < kBlockSteps; ++step) {
    uint32_t a[4];
    if constexpr (Tile::kC > 1) {
      load_blocks_at<false>(a, weights_a + 32 * step);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[i] = pack_bf16(s[2 * step + i / 2][i % 2 * 2], s[2 * step + i / 2][i % 2 * 2 + 1]);
    }
    tensor_mma(part.l, a, ones);
#pragma unroll
    for (int n = 0; n < kWide / 16; ++n) {
      uint32_t b[4];
      load_blocks_at<true>(b, values + step * 16 * Line::kLineBytes + 32 * n);
      tensor_mma(part.o[2 * n], a, b);
      tensor_mma(part.o[2 * n + 1], a, b + 2);
    }
  }
}

// Rows at position -1, which fill up a bucket of a captured graph.
__device__ __forceinline__ void clear_rows(const LatentJob& f, const LatentRows& t) {
  for (int i = static_cast<int>(threadIdx.x); i < t.rows * f.V; i += static_cast<int>(blockDim.x))
    f.out[t.at * f.V + i] = 0;
}

template <class Tile>
__device__ __forceinline__ void store_part(const LatentJob& f, const LatentRows& t, const WarpRows& w,
                                           const LatentSums<Tile::kWide>& part, int first_key) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = 16 * w.group + w.lane / 4 + 8 * h;
    if (r >= t.rows || first_key > w.last[h]) continue;
    const int64_t at = (t.at + r) * f.parts + blockIdx.y;
    if (w.warp == 0 && w.lane % 4 == 0)
      f.part_softmax[2 * at] = part.m[h], f.part_softmax[2 * at + 1] = part.l[2 * h];
#pragma unroll
    for (int n = 0; n < Tile::kWide / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int v = Tile::kWide * w.warp + 8 * n + w.lane % 4 * 2 + e;
        if (v < f.V) f.part_sums[at * f.V + v] = part.o[n][2 * h + e];
      }
    }
  }
}

template <class Tile>
__device__ __forceinline__ void store_output(const LatentJob& f, const LatentRows& t, const WarpRows& w,
                                             const LatentSums<Tile::kWide>& all) {
  const bool pairs = f.V % 2 == 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = 16 * w.group + w.lane / 4 + 8 * h;
    if (r >= t.rows) continue;
    const int64_t at = t.at + r;
    const float inverse = __fdiv_rn(1.0f, all.l[2 * h]);
    if (w.warp == 0 && w.lane % 4 == 0 && f.maxima != nullptr)
      f.maxima[at] = all.m[h], f.sums[at] = all.l[2 * h];
#pragma unroll
    for (int n = 0; n < Tile::kWide / 8; ++n) {
      const int v = Tile::kWide * w.warp + 8 * n + w.lane % 4 * 2;
      const float low = __fmaf_rn(all.o[n][2 * h], inverse, 0.0f),
                  high = __fmaf_rn(all.o[n][2 * h + 1], inverse, 0.0f);
      uint16_t* const to = f.out + at * f.V + v;
      if (pairs && v < f.V) {
        *reinterpret_cast<uint32_t*>(to) = pack_bf16(low, high);
        if (f.unrounded != nullptr) *reinterpret_cast<float2*>(f.unrounded + at * f.V + v) = {low, high};
        continue;
      }
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (v + e >= f.V) continue;
        to[e] = static_cast<uint16_t>(pack_bf16(e == 0 ? low : high, 0.0f));
        if (f.unrounded != nullptr) f.unrounded[at * f.V + v + e] = e == 0 ? low : high;
      }
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAtOnce) attend(LatentJob f) {
  using Line = typename Tile::Line;
  constexpr int kVectors = Tile::kK / kVector, kThreads = Tile::kThreads, kWide = Tile::kWide;
  extern __shared__ __align__(128) uint16_t latent_memory[];
  uint16_t* const queries = latent_memory;
  uint16_t* const stages = queries + Tile::kQueries;
  uint16_t* const weights = stages + Tile::kStages * Tile::kStage;
  auto* const maxima = reinterpret_cast<float*>(weights + Tile::kWeights);
  LatentRows t;
  let_next_start();
  await_previous();
  if (!rows_of_block(f, blockIdx.x, Tile::kRows, t)) return;
  const bool apart = f.part_sums != nullptr;
  const int first_block = apart ? static_cast<int>(blockIdx.y) * kBlocksOfPart : 0;
  int end_block = (t.keys + kBlockKeys - 1) / kBlockKeys;
  if (apart) end_block = min(end_block, first_block + kBlocksOfPart);
  if (first_block >= end_block) {
    if (t.keys <= 0 && !apart) clear_rows(f, t);
    return;
  }
  LatentPages pages(f, t.s);
  const auto thread = static_cast<int>(threadIdx.x);
  const auto copy = [&](int block) {
    uint16_t* const to = stages + block % Tile::kStages * Tile::kStage;
    const int keys = t.keys - block * kBlockKeys;
#pragma unroll 4
    for (int i = thread; i < kBlockKeys * kVectors; i += kThreads) {
      const int line = i / kVectors, vector = i % kVectors;
      Line::copy(to, line, vector, line < keys ? pages.key(line, f.K) : nullptr, f.pages, f.K, f.vectors);
    }
    pages.look_up(block + 1, t.keys);
  };
  pages.look_up(first_block, t.keys);
#pragma unroll 4
  for (int i = thread; i < Tile::kRows * kVectors; i += kThreads) {
    const int r = i / kVectors;
    Line::copy(queries, r, i % kVectors, r < t.rows ? f.q + (t.at + r) * f.K : nullptr, f.q, f.K, f.vectors);
  }
  copy(first_block);
  copy_commit();

  WarpRows w{thread / Tile::kGroupThreads, thread % Tile::kGroupThreads / 32, thread % 32, {}};
  const auto last_of = [&](int r) { return t.position0 + f.by_heads.of(t.row + min(r, t.rows - 1)); };
#pragma unroll
  for (int h = 0; h < 2; ++h) w.last[h] = last_of(16 * w.group + w.lane / 4 + 8 * h);
  const int group_first = last_of(16 * w.group), group_last = last_of(16 * w.group + 15);
  const float c = f.scale_log2;
  const uint32_t queries_at = shared_address(queries) + Line::of_a() + 16 * w.group * Line::kLineBytes;
  const uint32_t slice_at =
      shared_address(stages) + Line::of_b() + (Tile::kC > 1 ? Tile::kSlice * w.warp * Line::kLineBytes : 0);
  const uint32_t values_at = shared_address(stages) + Line::of_b_by_k() + 2 * kWide * w.warp * (Tile::kC > 1);
  const uint32_t weights_at =
      shared_address(weights) + Tile::Weights::of_a() + 16 * w.group * Tile::Weights::kLineBytes;
  LatentSums<kWide> part;
  KeptSums<kWide> kept;
  begin_part(part);
  for (int block = first_block; block < end_block; ++block) {
    copy_wait<0>();
    __syncthreads();
    if (Tile::kStages > 1 && block + 1 < end_block) copy(block + 1);
    copy_commit();
    const int key0 = block * kBlockKeys;
    if (key0 <= group_last) {
      const uint32_t stage = 2 * Tile::kStage * (block % Tile::kStages);
      attend_block<Tile>(part, key0, key0 + kBlockKeys - 1 > group_first, c, queries_at, slice_at + stage,
                         values_at + stage, weights, weights_at, maxima, w);
    }
    if (!apart && (block + 1) % kBlocksOfPart == 0 && block + 1 < end_block) {
      if (block + 1 != kBlocksOfPart) kept.merge_into(part, c);
      kept.keep(part);
      begin_part(part);
    }
    if (Tile::kStages == 1 && block + 1 < end_block) {
      __syncthreads();
      copy(block + 1);
      copy_commit();
    }
  }
  if (apart) return store_part<Tile>(f, t, w, part, first_block * kBlockKeys);
  if (end_block > kBlocksOfPart) kept.merge_into(part, c);
  store_output<Tile>(f, t, w, part);
}

constexpr int kMergeWarps = 4, kMergeColumns = 128;
__global__ void __launch_bounds__(32 * kMergeWarps) merge_latents(LatentJob f) {
  let_next_start();
  await_previous();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kMergeWarps + threadIdx.x / 32;
  if (at >= f.rows.T * f.H) return;
  const int lane = static_cast<int>(threadIdx.x) % 32,
            first = static_cast<int>(blockIdx.y) * kMergeColumns + lane;
  const int position = f.rows.positions[at / f.H], parts = position < 0 ? 0 : position / kPartKeys + 1;
  const float c = f.scale_log2;
  constexpr int kEach = kMergeColumns / 32;
  float m = 0.0f, l = 1.0f, o[kEach] = {};
  for (int part = 0; part < parts; ++part) {
    const int64_t from = at * f.parts + part;
    const float part_m = f.part_softmax[2 * from], part_l = f.part_softmax[2 * from + 1];
    float a = 0.0f, b = 1.0f;
    if (part == 0) {
      m = part_m, l = part_l;
    } else {
      const float most = fmaxf(m, part_m), reference = reference_of(most);
      a = rescale_of(m, reference, c), b = rescale_of(part_m, reference, c);
      m = most;
      l = __fmaf_rn(part_l, b, __fmul_rn(l, a));
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int v = first + 32 * i;
      const float sum = v < f.V ? f.part_sums[from * f.V + v] : 0.0f;
      o[i] = part == 0 ? sum : __fmaf_rn(sum, b, __fmul_rn(o[i], a));
    }
  }
  const float inverse = __fdiv_rn(1.0f, l);
  if (first == 0 && f.maxima != nullptr) f.maxima[at] = m, f.sums[at] = l;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int v = first + 32 * i;
    if (v >= f.V) continue;
    const float value = __fmaf_rn(o[i], inverse, 0.0f);
    f.out[at * f.V + v] = static_cast<uint16_t>(pack_bf16(value, 0.0f));
    if (f.unrounded != nullptr) f.unrounded[at * f.V + v] = value;
  }
}

constexpr int kWriteWarps = 8;
__global__ void __launch_bounds__(32 * kWriteWarps) write_latents(LatentJob f) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWriteWarps + threadIdx.x / 32;
  if (token >= f.rows.T) return;
  const int position = f.rows.positions[token];
  if (position < 0) return;
  int64_t s = 0, end = f.rows.S;  // the row of the batch: the last that begins at the token or before
  while (end - s > 1) {
    const int64_t middle = (s + end) / 2;
    if (f.rows.offsets[middle] <= token) {
      s = middle;
    } else {
      end = middle;
    }
  }
  const int64_t page = f.rows.table[s * f.rows.max_pages + position / kKeyTile];
  const uint16_t* const from = f.k + token * f.K;
  uint16_t* const to = f.pages + page * f.page_elements + position % static_cast<int>(kKeyTile) * f.K;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (f.vectors) {
    for (int i = lane; i < f.K / kVector; i += 32)
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
  } else {
    for (int i = lane; i < f.K; i += 32) to[i] = from[i];
  }
}

LatentJob latent_job(const AttentionForward& call, const TensorRows& rows) {
  const KvPages& pages = call.pages;
  LatentJob f{};
  f.H = static_cast<int>(call.q.dim(1));
  f.K = static_cast<int>(pages.K), f.V = static_cast<int>(pages.V);
  f.by_heads = Quotient::by(f.H);
  f.scale_log2 = call.scale * kLog2E;
  f.q = static_cast<const uint16_t*>(call.q.data);
  f.out = static_cast<uint16_t*>(call.out.data);
  f.maxima = call.saved.maxima, f.sums = call.saved.sums;
  if (call.saved.out) f.unrounded = call.saved.out.f32();
  f.pages = static_cast<uint16_t*>(pages.data);
  f.page_elements = pages.page_elements();
  f.vectors = rows_have_vectors(f.q, f.K) && rows_have_vectors(f.pages, f.K);
  if (call.k) {
    f.k = static_cast<const uint16_t*>(call.k.data);
    f.vectors = f.vectors && rows_have_vectors(f.k, f.K);
  }
  f.rows = rows;
  return f;
}

template <class Tile>
void launch_attend(LatentJob f, bool early, void* stream) {
  f.tiles_each = ceil_div(f.rows.most_tokens * f.H, int64_t{Tile::kRows});
  allow_latent_bytes(attend<Tile>, Tile::kBytes);
  const dim3 grid(static_cast<unsigned>(f.tiles_each * f.rows.S),
                  static_cast<unsigned>(f.part_sums != nullptr ? f.parts : 1));
  launch_early(early, "latent attention", attend<Tile>, grid, Tile::kThreads, Tile::kBytes, stream, f);
}

// Picks the blocks: of several groups for many rows, of one for few, and with one stage if the device has no room for
// two.
template <class Shape>
void launch_attend_of(const LatentJob& f, bool early, void* stream) {
  using Many = LatentTile < Shape, Shape::kC<4 ? 4 : 2, 2>;
  using Few = LatentTile<Shape, 1, 2>;
  if (f.rows.most_tokens * f.H > 16 && latent_block_fits(Many::kBytes))
    return launch_attend<Many>(f, early, stream);
  if constexpr (Few::kBytes > kLeastShared) {
    using Least = LatentTile<Shape, 1, 1>;
    static_assert(Least::kBytes <= kLeastShared);
    if (!latent_block_fits(Few::kBytes)) return launch_attend<Least>(f, early, stream);
  }
  launch_attend<Few>(f, early, stream);
}

void run(Context& ctx, const AttentionForward& call, const TensorRows& rows) {
  constexpr int64_t kMostPartFloats = int64_t{1} << 24;  // 64 MiB of scratch
  constexpr int64_t kBusy = 1024;  // tiles of 16 rows that fill a GPU without parts of their own
  LatentJob f = latent_job(call, rows);
  f.parts = ceil_div(rows.max_pages * kKeyTile, int64_t{kPartKeys});
  const int64_t at_once = rows.S * ceil_div(rows.most_tokens * f.H, int64_t{16});
  const int64_t part_rows = rows.T * f.H * f.parts;
  const OpScope scope(ctx);
  if (f.parts > 1 && at_once < kBusy && part_rows * (f.V + 2) <= kMostPartFloats) {
    f.part_sums = ctx.arena.array<float>(part_rows * f.V);
    f.part_softmax = ctx.arena.array<float>(part_rows * 2);
  }
  if (ctx.measuring || rows.T == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (f.k != nullptr) {
    write_latents<<<static_cast<unsigned>(ceil_div(rows.T, int64_t{kWriteWarps})), 32 * kWriteWarps, 0,
                    stream>>>(f);
    check_launch("latent pages");
  }
  with_latent_shape(f.V, f.K,
                    [&](auto shape) { launch_attend_of<decltype(shape)>(f, launches_early(ctx), stream); });
  if (f.part_sums == nullptr) return;
  const dim3 grid(static_cast<unsigned>(ceil_div(rows.T * f.H, int64_t{kMergeWarps})),
                  static_cast<unsigned>(ceil_div(f.V, kMergeColumns)));
  launch_early(launches_early(ctx), "latent attention parts", merge_latents, grid, 32 * kMergeWarps, 0,
               stream, f);
}

}  // namespace

bool latent_block_fits(int bytes) {
  static const int most = [] {
    int device = 0, value = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "cudaDeviceGetAttribute");
    return value;
  }();
  return bytes <= most;
}

void latent_attention(Context& ctx, const AttentionForward& call) {
  const OpScope scope(ctx);
  const Batch& batch = call.batch;
  TensorRows rows{.S = batch.S(), .T = batch.T(), .max_pages = batch.max_pages};
  if (decodes(batch)) {
    // The lists may be the device's alone.
    const DecodeLists lists = decode_lists(ctx, batch);
    rows.offsets = on_device(ctx, batch.offsets);
    rows.positions = lists.positions, rows.table = lists.table;
    rows.prefixes = lists.prefixes, rows.tails = lists.tails;
    rows.most_tokens = 1;
    return run(ctx, call, rows);
  }
  for (int64_t s = 0; s < rows.S; ++s)
    rows.most_tokens = std::max<int64_t>(
        rows.most_tokens, batch.offsets[static_cast<size_t>(s) + 1] - batch.offsets[static_cast<size_t>(s)]);
  Upload lists(ctx);
  const int offsets = lists.add(batch.offsets), positions = lists.add(batch.positions),
            table = lists.add(batch.pages), prefixes = lists.add(batch.prefixes),
            tails = lists.add(batch.tails);
  lists.send();
  if (!ctx.measuring) {
    rows.offsets = lists.at<int32_t>(offsets);
    rows.positions = lists.at<int32_t>(positions);
    rows.table = lists.at<int32_t>(table);
    if (!batch.prefixes.empty()) {
      rows.prefixes = lists.at<int64_t>(prefixes);
      rows.tails = lists.at<int32_t>(tails);
    }
  }
  run(ctx, call, rows);
}

}  // namespace r1::cuda
