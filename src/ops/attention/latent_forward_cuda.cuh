// ops/attention/latent_forward_cuda.cuh: the job of the forward of attention over latents: its tiles of query rows, and
// the pages of a row. Private to this folder.
#pragma once

#include "ops/attention/latent_attention_cuda.cuh"

namespace r1::cuda {

inline constexpr int kBlocksOfPart = kPartKeys / kBlockKeys;
inline constexpr int kPagesOfBlock = kBlockKeys / static_cast<int>(kKeyTile);

struct LatentJob {
  int H, K, V;
  Quotient by_heads;
  float scale_log2;  // c
  const uint16_t *q, *k;
  uint16_t* out;
  float *unrounded, *maxima, *sums;  // may be null
  uint16_t* pages;
  int64_t page_elements;
  bool vectors;
  TensorRows rows;
  int64_t tiles_each;               // tiles of each row of the batch
  float *part_sums, *part_softmax;  // parts that run apart, per row of [T, H]: S [parts, V], and M and L
  int64_t parts;
};

template <class Shape, int kGroupCount, int kStageCount>
struct LatentTile : Shape {
  using Shape::kC, Shape::kK, Shape::kV;
  static constexpr int kGroups = kGroupCount, kStages = kStageCount, kGroupThreads = 32 * kC;
  static constexpr int kThreads = kGroupThreads * kGroups, kRows = 16 * kGroups;
  using Line = SpacedLines<kK>;                   // a line of queries or keys
  using Weights = SpacedLines<kBlockKeys>;        // a line of e_j; only several warps per group need it
  static constexpr int kWide = kV / kC;           // columns of O that a warp holds
  static constexpr int kSlice = kBlockKeys / kC;  // keys whose scores a warp computes
  static constexpr int kQueries = kRows * Line::kPitch, kStage = kBlockKeys * Line::kPitch,
                       kWeights = kC > 1 ? kRows *Weights::kPitch : 0, kMaxima = kC > 1 ? kC *kRows : 0;
  static constexpr int kBytes = 2 * (kQueries + kStages * kStage + kWeights) + 4 * kMaxima;
  static constexpr int kBlocksAtOnce = kThreads <= 32 ? 8 : kC == 1 ? 3 : 1;
};

// A tile of query rows: `at` is the first in [T, H], `row` the first of its row of the batch.
struct LatentRows {
  int64_t s, at;
  int row, rows, position0, keys;  // keys: that its last row sees
};
__device__ __forceinline__ bool rows_of_block(const LatentJob& f, int64_t index, int height, LatentRows& t) {
  // The last tiles of rows, which see the most keys, begin first.
  t.s = index % f.rows.S;
  const int64_t first = (f.tiles_each - 1 - index / f.rows.S) * height, token0 = f.rows.offsets[t.s];
  const int64_t all = (f.rows.offsets[t.s + 1] - token0) * f.H;
  if (first >= all) return false;
  t.at = token0 * f.H + first;
  t.row = static_cast<int>(first);
  t.rows = static_cast<int>(min(all - first, static_cast<int64_t>(height)));
  t.position0 = f.rows.positions[token0];
  t.keys = t.position0 + f.by_heads.of(t.row + t.rows - 1) + 1;
  return true;
}

// The pages of a row of the batch, of which those of a block of keys are at hand. Keys [split_begin, split_end) of the
// block lie in `tail`, where a shared prefix ends.
struct LatentPages {
  const int32_t* table;
  const uint16_t *base, *tail = nullptr;
  int64_t elements;
  int split_page = -1, split = 0;
  const uint16_t* page[kPagesOfBlock];
  int split_begin = 0, split_end = 0;
  __device__ __forceinline__ LatentPages(const LatentJob& f, int64_t s)
      : table(f.rows.table + s * f.rows.max_pages), base(f.pages), elements(f.page_elements) {
    if (f.rows.tails == nullptr || f.rows.tails[s] < 0) return;
    tail = f.pages + f.rows.tails[s] * f.page_elements;
    split_page = static_cast<int>(f.rows.prefixes[s] / kKeyTile);
    split = static_cast<int>(f.rows.prefixes[s] % kKeyTile);
  }
  __device__ __forceinline__ void look_up(int block, int keys) {
#pragma unroll
    for (int i = 0; i < kPagesOfBlock; ++i) {
      const int number = block * kPagesOfBlock + i;
      page[i] = number * static_cast<int>(kKeyTile) < keys ? base + table[number] * elements : base;
    }
    const int at = split_page - block * kPagesOfBlock;
    const bool here = split_page >= 0 && at >= 0 && at < kPagesOfBlock;
    split_begin = here ? at * static_cast<int>(kKeyTile) : 0;
    split_end = here ? split_begin + split : 0;
  }
  __device__ __forceinline__ const uint16_t* key(int line, int K) const {
    static_assert(kPagesOfBlock == 2);
    const bool in_tail = line >= split_begin && line < split_end;
    const uint16_t* const from = in_tail ? tail : line < static_cast<int>(kKeyTile) ? page[0] : page[1];
    return from + line % static_cast<int>(kKeyTile) * K;
  }
};

}  // namespace r1::cuda
