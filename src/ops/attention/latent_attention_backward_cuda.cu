// ops/attention/latent_attention_backward_cuda.cu: the backward of attention over latents.
//
//   prepare_rows     rounds d_o to bf16, and delta = sum over v of o d_o, a warp per row of [T, H]
//   key_gradients    the gradient of 16 keys per group of warps: all query rows that see them pass by, 32 at a time.
//                    Latents are keys and values, so that both gradients meet in one sum. Slopes are stored in bf16
//   query_gradients  dq of 32 query rows per group: slopes times keys, 64 at a time
//
// Slopes lie in tiles of 64 keys by 128 query rows; the keys' sums go on from one block of query tiles to the next
// (latent_lists_cuda.h).
#include <cuda_runtime.h>

#include <span>

#include "base/integers.h"
#include "ops/attention/latent_attention_cuda.cuh"
#include "ops/attention/latent_lists_cuda.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kPassing = 32;  // query rows of a stage

// The numbers from which a query row's probabilities follow.
struct LatentFacts {
  float mc, inverse, delta;
  int32_t position;
};

struct LatentBackwardJob {
  int64_t rows;  // T H
  int H, K, V;
  float scale, scale_log2;
  const uint16_t *q, *k;
  const float *out, *d_out, *maxima, *sums;
  const int32_t* positions;  // [T]
  uint16_t *d_o, *slopes;    // [T, H, V], and the block's
  LatentFacts* facts;        // [T, H]
  bool k_vectors, v_vectors;
  const LatentKeyTile* key_tiles;
  const LatentQueryTile* query_tiles;
  const int32_t* order;  // key tiles; those that most query tiles see come first
  int first, end;        // query tiles of the block
  float *dk, *dk_sums;   // dk_sums: sums between blocks
  float* dq;             // null: not wanted
  bool add_dk, add_dq;
};

constexpr int kRowThreads = 128;
__global__ void __launch_bounds__(kRowThreads) prepare_latent_rows(LatentBackwardJob b) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kRowThreads / 32) + threadIdx.x / 32;
  if (at >= b.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float delta = 0.0f;
  for (int v = lane; v < b.V; v += 32) {
    const uint16_t bits = bf16_bits(b.d_out[at * b.V + v]);
    b.d_o[at * b.V + v] = bits;
    delta = __fmaf_rn(b.out[at * b.V + v], to_f32(bits), delta);
  }
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) delta = __fadd_rn(delta, __shfl_xor_sync(~0u, delta, apart));
  if (lane == 0)
    b.facts[at] = {__fmul_rn(reference_of(b.maxima[at]), b.scale_log2), __fdiv_rn(1.0f, b.sums[at]), delta,
                   b.positions[at / b.H]};
}

// --- gradients of keys

template <class Shape, int kGroupCount, int kStageCount>
struct KeyGradientTile : Shape {
  using Shape::kC, Shape::kK, Shape::kV;
  static constexpr int kGroups = kGroupCount, kStages = kStageCount, kGroupThreads = 32 * kC;
  static constexpr int kThreads = kGroupThreads * kGroups, kRows = 16 * kGroups;
  using Line = SpacedLines<kK>;           // a line of keys or queries
  using OutLine = SpacedLines<kV>;        // a line of d_o
  using Weights = SpacedLines<kPassing>;  // a line of probabilities and slopes; only several warps per group need it
  static constexpr int kWide = kK / kC;   // columns of the sums that a warp holds
  static constexpr int kSlice = kPassing / kC;  // query rows whose probabilities a warp computes
  static constexpr int kKeys = kRows * Line::kPitch, kQueries = kPassing * Line::kPitch,
                       kStage = kQueries + kPassing * OutLine::kPitch,
                       kWeights = kC > 1 ? 2 * kRows *Weights::kPitch : 0;
  static constexpr int kFactBytes = kStages * kPassing * 16;
  static constexpr int kBytes = kFactBytes + 2 * (kKeys + kStages * kStage + kWeights);
  static constexpr int kBlocksAtOnce = kC == 1 && kGroups > 1 ? 2 : 1;
};

// scores and products d_o . v of the warp's 16 keys and its slice of the query rows.
template <class Tile>
__device__ __forceinline__ void multiply_rows(float (&s)[Tile::kSlice / 8][4],
                                              float (&d)[Tile::kSlice / 8][4], uint32_t keys,
                                              uint32_t queries, uint32_t d_o) {
  using Line = typename Tile::Line;
  using OutLine = typename Tile::OutLine;
  clear_sums(s);
  clear_sums(d);
#pragma unroll
  for (int step = 0; step < Tile::kK / 16; ++step) {
    uint32_t a[4];
    load_blocks_at<false>(a, keys + 32 * step);
    const auto add = [&](float(&sums)[Tile::kSlice / 8][4], uint32_t at, uint32_t line_bytes) {
      if constexpr (Tile::kSlice == 8) {
        uint32_t b[2];
        load_two_blocks_at(b, at + 32 * step);
        tensor_mma(sums[0], a, b);
      } else {
#pragma unroll
        for (int n = 0; n < Tile::kSlice / 16; ++n) {
          uint32_t b[4];
          load_blocks_at<false>(b, at + n * 16 * line_bytes + 32 * step);
          tensor_mma(sums[2 * n], a, b);
          tensor_mma(sums[2 * n + 1], a, b + 2);
        }
      }
    };
    add(s, queries, Line::kLineBytes);
    if (step < Tile::kV / 16) add(d, d_o, OutLine::kLineBytes);
  }
}

// Scores become probabilities, and products become slopes. `first`: the slice's first row of the stage.
template <class Tile>
__device__ __forceinline__ void make_slopes(const LatentBackwardJob& b, float (&p)[Tile::kSlice / 8][4],
                                            float (&slopes)[Tile::kSlice / 8][4], const LatentFacts* facts,
                                            const int (&key)[2], const bool (&there)[2]) {
#pragma unroll
  for (int n = 0; n < Tile::kSlice / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const LatentFacts row = facts[8 * n + e];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& value = p[n][2 * h + e];
        value = there[h] && key[h] <= row.position
                    ? __fmul_rn(weight_of(value, b.scale_log2, row.mc), row.inverse)
                    : 0.0f;
        float& slope = slopes[n][2 * h + e];
        slope = __fmul_rn(__fmul_rn(value, __fsub_rn(slope, row.delta)), b.scale);
      }
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAtOnce) key_gradients(LatentBackwardJob b) {
  using Line = typename Tile::Line;
  using OutLine = typename Tile::OutLine;
  using Weights = typename Tile::Weights;
  constexpr int kThreads = Tile::kThreads, kWide = Tile::kWide, kSlice = Tile::kSlice, kC = Tile::kC;
  constexpr int kVectors = Tile::kK / kVector, kOutVectors = Tile::kV / kVector,
                kPasses = kTileQueries / kPassing;
  extern __shared__ __align__(128) uint16_t latent_memory[];
  auto* const facts = reinterpret_cast<LatentFacts*>(latent_memory);
  uint16_t* const keys = latent_memory + Tile::kFactBytes / 2;
  uint16_t* const stages = keys + Tile::kKeys;
  uint16_t* const weights = stages + Tile::kStages * Tile::kStage;
  constexpr int kParts = kTileKeys / Tile::kRows;  // blocks per key tile
  const LatentKeyTile t = b.key_tiles[b.order[blockIdx.x / kParts]];
  const int line0 = static_cast<int>(blockIdx.x) % kParts * Tile::kRows;  // the tile's first line
  const int begin = max(t.begin, b.first), end = min(t.end, b.end);
  if (begin >= end) return;  // keys that are not there have slopes all the same, which query_gradients reads
  const auto thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < Tile::kRows * kVectors; i += kThreads) {
    const int line = i / kVectors;
    Line::copy(keys, line, i % kVectors,
               line0 + line < t.keys ? b.k + static_cast<int64_t>(t.token + line0 + line) * b.K : nullptr,
               b.k, b.K, b.k_vectors);
  }
  LatentQueryTile coming = b.query_tiles[begin];
  int64_t copied_at = 0;
  int copied_rows = 0;
  const auto copy = [&](int pass) {
    if (pass % kPasses == 0) {
      copied_at = coming.at, copied_rows = coming.rows;
      coming = b.query_tiles[min(begin + pass / kPasses + 1, end - 1)];
    }
    uint16_t* const to = stages + pass % Tile::kStages * Tile::kStage;
    const int row0 = pass % kPasses * kPassing, rows = copied_rows - row0;
    const int64_t at = copied_at + row0;
#pragma unroll 5
    for (int i = thread; i < kPassing * kVectors; i += kThreads) {
      const int line = i / kVectors;
      Line::copy(to, line, i % kVectors, line < rows ? b.q + (at + line) * b.K : nullptr, b.q, b.K,
                 b.k_vectors);
    }
#pragma unroll 4
    for (int i = thread; i < kPassing * kOutVectors; i += kThreads) {
      const int line = i / kOutVectors;
      OutLine::copy(to + Tile::kQueries, line, i % kOutVectors,
                    line < rows ? b.d_o + (at + line) * b.V : nullptr, b.d_o, b.V, b.v_vectors);
    }
    // Facts of rows that are not there become zeros, of which every probability is 0.
    if (thread < kPassing)
      copy_async(shared_address(facts + pass % Tile::kStages * kPassing + thread),
                 b.facts + (thread < rows ? at + thread : 0), thread < rows ? 16 : 0);
  };
  copy(0);
  copy_commit();

  const int group = thread / Tile::kGroupThreads, warp = thread % Tile::kGroupThreads / 32,
            lane = thread % 32;
  const int line = line0 + 16 * group + lane / 4, column = lane % 4 * 2;
  const int key[2] = {t.key0 + line, t.key0 + line + 8};
  const bool there[2] = {line < t.keys, line + 8 < t.keys};
  const int slice = kC > 1 ? kSlice * warp : 0, column0 = kC > 1 ? kWide * warp : 0;
  const uint32_t keys_at = shared_address(keys) + Line::of_a() + 16 * group * Line::kLineBytes;
  const uint32_t queries_at = shared_address(stages) + Line::of_b() + slice * Line::kLineBytes;
  const uint32_t d_o_at =
      shared_address(stages + Tile::kQueries) + OutLine::of_b() + slice * OutLine::kLineBytes;
  const uint32_t queries_by_k = shared_address(stages) + Line::of_b_by_k() + 2 * column0;
  const uint32_t d_o_by_k = shared_address(stages + Tile::kQueries) + OutLine::of_b_by_k() + 2 * column0;
  uint16_t* const p_to = weights + (16 * group + lane / 4) * Weights::kPitch + slice + column;
  constexpr int kSlopesBehind = Tile::kRows * Weights::kPitch;
  const uint32_t p_at = shared_address(weights) + Weights::of_a() + 16 * group * Weights::kLineBytes;
  const auto place = [&](float* to, int h) {
    return to + static_cast<int64_t>(t.token + line + 8 * h) * b.K;
  };

  float sums[kWide / 8][4];
  clear_sums(sums);
  if (t.begin < b.first) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!there[h]) continue;
      const float* const from = place(b.dk_sums, h);
#pragma unroll
      for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (column0 + 8 * n + column + e < b.K) sums[n][2 * h + e] = from[column0 + 8 * n + column + e];
      }
    }
  }
  const int passes = (end - begin) * kPasses;
  uint16_t* slopes_to = nullptr;
  for (int pass = 0; pass < passes; ++pass) {
    copy_wait<0>();
    __syncthreads();
    if (pass % kPasses == 0)
      slopes_to = b.slopes + (b.query_tiles[begin + pass / kPasses].slopes + t.ordinal) * kTileSlopes +
                  line * kTileQueries + slice + column;
    if (Tile::kStages > 1 && pass + 1 < passes) copy(pass + 1);
    copy_commit();
    const uint32_t stage = 2 * Tile::kStage * (pass % Tile::kStages);
    float p[kSlice / 8][4], slopes[kSlice / 8][4];
    multiply_rows<Tile>(p, slopes, keys_at, queries_at + stage, d_o_at + stage);
    make_slopes<Tile>(b, p, slopes, facts + pass % Tile::kStages * kPassing + slice + column, key, there);
#pragma unroll
    for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t slope = pack_bf16(slopes[n][2 * h], slopes[n][2 * h + 1]);
        *reinterpret_cast<uint32_t*>(slopes_to + pass % kPasses * kPassing + 8 * h * kTileQueries + 8 * n) =
            slope;
        if constexpr (kC > 1) {
          uint16_t* const to = p_to + 8 * h * Weights::kPitch + 8 * n;
          *reinterpret_cast<uint32_t*>(to) = pack_bf16(p[n][2 * h], p[n][2 * h + 1]);
          *reinterpret_cast<uint32_t*>(to + kSlopesBehind) = slope;
        }
      }
    }
    if constexpr (kC > 1) await_group<Tile::kGroupThreads>(group);
#pragma unroll
    for (int step = 0; step < kPassing / 16; ++step) {
      uint32_t of_p[4], of_slopes[4];
      if constexpr (kC > 1) {
        load_blocks_at<false>(of_p, p_at + 32 * step);
        load_blocks_at<false>(of_slopes, p_at + 2 * kSlopesBehind + 32 * step);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int n = 2 * step + i / 2, e = i % 2 * 2;
          of_p[i] = pack_bf16(p[n][e], p[n][e + 1]);
          of_slopes[i] = pack_bf16(slopes[n][e], slopes[n][e + 1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kWide / 16; ++n) {
        uint32_t v[4];
        if (column0 + 16 * n < Tile::kV) {
          load_blocks_at<true>(v, d_o_by_k + stage + step * 16 * OutLine::kLineBytes + 32 * n);
          tensor_mma(sums[2 * n], of_p, v);
          tensor_mma(sums[2 * n + 1], of_p, v + 2);
        }
        load_blocks_at<true>(v, queries_by_k + stage + step * 16 * Line::kLineBytes + 32 * n);
        tensor_mma(sums[2 * n], of_slopes, v);
        tensor_mma(sums[2 * n + 1], of_slopes, v + 2);
      }
    }
    if (Tile::kStages == 1 && pass + 1 < passes) {
      __syncthreads();
      copy(pass + 1);
      copy_commit();
    }
  }
  const bool last = t.end <= b.end, add = last && b.add_dk;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (!there[h]) continue;
    float* const to = place(last ? b.dk : b.dk_sums, h);
#pragma unroll
    for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int at = column0 + 8 * n + column + e;
        if (at >= b.K) continue;
        const float sum = last ? __fadd_rn(sums[n][2 * h + e], 0.0f) : sums[n][2 * h + e];
        to[at] = add ? __fadd_rn(to[at], sum) : sum;
      }
    }
  }
}

// --- gradients of queries

template <class Shape, int kGroupCount, int kStageCount>
struct QueryGradientTile : Shape {
  using Shape::kC, Shape::kK;
  static constexpr int kGroups = kGroupCount, kStages = kStageCount, kThreads = 32 * kC * kGroups;
  static constexpr int kRows = 32 * kGroups;
  using Line = SpacedLines<kK>;          // a line of keys
  using SlopeLine = SpacedLines<kRows>;  // lines are keys
  static constexpr int kWide = kK / kC;
  static constexpr int kKeys = kTileKeys * Line::kPitch, kStage = kKeys + kTileKeys * SlopeLine::kPitch;
  static constexpr int kBytes = 2 * kStages * kStage;
  static constexpr int kBlocksAtOnce = kC == 1 ? 2 : 1;
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAtOnce) query_gradients(LatentBackwardJob b) {
  using Line = typename Tile::Line;
  using SlopeLine = typename Tile::SlopeLine;
  constexpr int kThreads = Tile::kThreads, kWide = Tile::kWide, kRows = Tile::kRows;
  constexpr int kVectors = Tile::kK / kVector, kSlopeVectors = kRows / kVector, kParts = kTileQueries / kRows;
  extern __shared__ __align__(128) uint16_t latent_memory[];
  const int from_last = static_cast<int>(blockIdx.x) / kParts;  // tiles that see the most keys begin first
  const LatentQueryTile t = b.query_tiles[b.end - 1 - from_last];
  const int row0 = static_cast<int>(blockIdx.x) % kParts * kRows;
  if (row0 >= t.rows) return;
  const auto thread = static_cast<int>(threadIdx.x);
  const auto key_tile = [&](int i) {
    return b.key_tiles[i < t.parents ? t.parent + i : t.own + i - t.parents];
  };
  const int count = t.parents + t.owns;
  LatentKeyTile coming = key_tile(0);
  const auto copy = [&](int i) {
    const LatentKeyTile of = coming;
    if (i + 1 < count) coming = key_tile(i + 1);
    uint16_t* const to = latent_memory + i % Tile::kStages * Tile::kStage;
#pragma unroll 5
    for (int j = thread; j < kTileKeys * kVectors; j += kThreads) {
      const int line = j / kVectors;
      Line::copy(to, line, j % kVectors,
                 line < of.keys ? b.k + static_cast<int64_t>(of.token + line) * b.K : nullptr, b.k, b.K,
                 b.k_vectors);
    }
    const uint16_t* const slopes = b.slopes + (t.slopes + i) * kTileSlopes + row0;
#pragma unroll 4
    for (int j = thread; j < kTileKeys * kSlopeVectors; j += kThreads) {
      const int line = j / kSlopeVectors, vector = j % kSlopeVectors;
      SlopeLine::copy(to + Tile::kKeys, line, vector, slopes + line * kTileQueries, slopes, kRows, true);
    }
  };
  copy(0);
  copy_commit();
  const int group = thread / (32 * Tile::kC), warp = thread / 32 % Tile::kC, lane = thread % 32;
  const int column0 = Tile::kC > 1 ? kWide * warp : 0;
  const uint32_t keys_at = shared_address(latent_memory) + Line::of_b_by_k() + 2 * column0;
  const uint32_t slopes_at =
      shared_address(latent_memory + Tile::kKeys) + SlopeLine::of_a_by_k() + 64 * group;
  float sums[2][kWide / 8][4];
  clear_sums(sums[0]);
  clear_sums(sums[1]);
  for (int i = 0; i < count; ++i) {
    copy_wait<0>();
    __syncthreads();
    if (Tile::kStages > 1 && i + 1 < count) copy(i + 1);
    copy_commit();
    const uint32_t stage = 2 * Tile::kStage * (i % Tile::kStages);
#pragma unroll
    for (int step = 0; step < kTileKeys / 16; ++step) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
        load_blocks_at<true>(a[m], slopes_at + stage + step * 16 * SlopeLine::kLineBytes + 32 * m);
#pragma unroll
      for (int n = 0; n < kWide / 16; ++n) {
        uint32_t v[4];
        load_blocks_at<true>(v, keys_at + stage + step * 16 * Line::kLineBytes + 32 * n);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          tensor_mma(sums[m][2 * n], a[m], v);
          tensor_mma(sums[m][2 * n + 1], a[m], v + 2);
        }
      }
    }
    if (Tile::kStages == 1 && i + 1 < count) {
      __syncthreads();
      copy(i + 1);
      copy_commit();
    }
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + 32 * group + 16 * m + lane / 4 + 8 * h;
      if (row >= t.rows) continue;
      float* const to = b.dq + (t.at + row) * b.K;
#pragma unroll
      for (int n = 0; n < kWide / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = column0 + 8 * n + lane % 4 * 2 + e;
          if (at >= b.K) continue;
          const float sum = __fadd_rn(sums[m][n][2 * h + e], 0.0f);
          to[at] = b.add_dq ? __fadd_rn(to[at], sum) : sum;
        }
      }
    }
  }
}

// --- launches

template <class Tile>
void launch_keys(const LatentBackwardJob& b, size_t tiles, cudaStream_t stream) {
  allow_latent_bytes(key_gradients<Tile>, Tile::kBytes);
  key_gradients<Tile>
      <<<static_cast<unsigned>(tiles * (kTileKeys / Tile::kRows)), Tile::kThreads, Tile::kBytes, stream>>>(b);
  check_launch("latent attention dk");
}
template <class Tile>
void launch_queries(const LatentBackwardJob& b, cudaStream_t stream) {
  allow_latent_bytes(query_gradients<Tile>, Tile::kBytes);
  query_gradients<Tile><<<static_cast<unsigned>((b.end - b.first) * (kTileQueries / Tile::kRows)),
                          Tile::kThreads, Tile::kBytes, stream>>>(b);
  check_launch("latent attention dq");
}

template <class Shape>
void launch_block(const LatentBackwardJob& b, size_t key_tiles, cudaStream_t stream) {
  constexpr int kGroups = Shape::kC < 4 ? 4 : 2;
  using Keys = KeyGradientTile<Shape, kGroups, 2>;
  using Queries = QueryGradientTile<Shape, kGroups, 2>;
  if constexpr (Keys::kBytes <= kLeastShared && Queries::kBytes <= kLeastShared) {
    launch_keys<Keys>(b, key_tiles, stream);
    if (b.dq != nullptr) launch_queries<Queries>(b, stream);
  } else {
    using LeastKeys = KeyGradientTile<Shape, 1, 1>;
    using LeastQueries = QueryGradientTile<Shape, kGroups, 1>;
    static_assert(LeastKeys::kBytes <= kLeastShared && LeastQueries::kBytes <= kLeastShared);
    if (latent_block_fits(Keys::kBytes)) {
      launch_keys<Keys>(b, key_tiles, stream);
    } else {
      launch_keys<LeastKeys>(b, key_tiles, stream);
    }
    if (b.dq == nullptr) return;
    if (latent_block_fits(Queries::kBytes)) return launch_queries<Queries>(b, stream);
    launch_queries<LeastQueries>(b, stream);
  }
}

}  // namespace

void latent_attention_backward(Context& ctx, const AttentionBackward& call) {
  R1_CHECK(!call.dv, "the gradient of latents as values is that of the keys");
  const OpScope scope(ctx);
  const int64_t T = call.q.dim(0);
  LatentBackwardJob b{};
  b.H = static_cast<int>(call.q.dim(1));
  b.K = static_cast<int>(call.k.dim(2)), b.V = static_cast<int>(call.v.dim(2));
  b.rows = T * b.H;
  b.scale = call.scale, b.scale_log2 = call.scale * kLog2E;
  b.q = static_cast<const uint16_t*>(call.q.data), b.k = static_cast<const uint16_t*>(call.k.data);
  b.out = call.saved.out.f32(), b.d_out = call.d_out.f32();
  b.maxima = call.saved.maxima, b.sums = call.saved.sums;
  const LatentLists lists = make_latent_lists(ctx, call);
  Upload upload(ctx);
  const int positions = upload.add(std::span<const int32_t>(lists.positions)),
            order = upload.add(std::span<const int32_t>(lists.order)),
            keys = upload.add(std::span<const LatentKeyTile>(lists.keys)),
            queries = upload.add(std::span<const LatentQueryTile>(lists.queries));
  upload.send();
  b.positions = upload.at<int32_t>(positions), b.order = upload.at<int32_t>(order);
  b.key_tiles = upload.at<LatentKeyTile>(keys), b.query_tiles = upload.at<LatentQueryTile>(queries);
  b.d_o = ctx.arena.array<uint16_t>(b.rows * b.V);
  b.facts = ctx.arena.array<LatentFacts>(b.rows);
  b.slopes = ctx.arena.array<uint16_t>(lists.most_tiles * kTileSlopes);
  // Without a slot for dk there is nowhere to add, but dq still needs the slopes.
  const bool kept = call.dk && !(call.dk.accumulate && lists.blocks.size() > 1);
  float* const room = kept ? nullptr : ctx.arena.array<float>(T * b.K);
  b.dk = call.dk ? call.dk.grad.f32() : room;
  b.dk_sums = kept ? b.dk : room;
  b.add_dk = call.dk && call.dk.accumulate;
  if (call.dq) b.dq = call.dq.grad.f32(), b.add_dq = call.dq.accumulate;
  b.k_vectors = rows_have_vectors(b.q, b.K) && rows_have_vectors(b.k, b.K);
  b.v_vectors = rows_have_vectors(b.d_o, b.V);
  if (ctx.measuring || T == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  prepare_latent_rows<<<static_cast<unsigned>(ceil_div(b.rows, int64_t{kRowThreads / 32})), kRowThreads, 0,
                        stream>>>(b);
  check_launch("latent attention rows");
  with_latent_shape(b.V, b.K, [&](auto shape) {
    for (const SlopeBlock& block : lists.blocks) {
      b.first = block.first, b.end = block.end;
      launch_block<decltype(shape)>(b, lists.keys.size(), stream);
    }
  });
}

}  // namespace r1::cuda
