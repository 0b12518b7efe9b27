// ops/attention/attention_forward.cc: the forward kernels: scores, softmax, values, one task at a time.
//
// A task is a few tiles of 12 query rows of one sequence and group. Its scores of all keys are held (48 bytes
// a key and tile), so that the maximum is known before the first exponential and every sum walks keys in
// order. Scores of masked keys that share a page with visible ones are computed in their own lanes and
// dropped; values stop at each row's last key: no masked slot reaches a result.
#include <limits>

#include "ops/attention/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_forward.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/attention/chains-inl.h"
#include "ops/attention/pack-inl.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

// Pages whose values stay in the cache while all tiles of a task pass over them.
constexpr int64_t kPagesAtOnce = 8;
constexpr int64_t kTileLanes = static_cast<int64_t>(kLaneWidth);
constexpr int64_t kTileVectors = kKeyTile / kTileLanes;

// One query row: its index in [T, H], the keys it sees; then what the backward wants of its softmax.
struct ForwardRow {
  int64_t index, keys;
  float maximum, sum;
};

// scores[page][32] of one row, pages kBlockFloats apart -> exp(score - maximum), zero past the last key.
HWY_INLINE void softmax_row(float* HWY_RESTRICT scores, ForwardRow& row) {
  const LaneTag d;
  const int64_t full = row.keys / kKeyTile, rest = row.keys % kKeyTile;
  LaneVector m[kTileVectors], sum[kTileVectors];
  for (int64_t v = 0; v < kTileVectors; ++v) {
    m[v] = hn::Set(d, -std::numeric_limits<float>::infinity());
    sum[v] = hn::Zero(d);
  }
  for (int64_t p = 0; p < full; ++p) {
    const float* at = scores + p * kBlockFloats;
    for (int64_t v = 0; v < kTileVectors; ++v) m[v] = hn::Max(m[v], hn::LoadU(d, at + v * kTileLanes));
  }
  float* last = scores + full * kBlockFloats;
  for (int64_t v = 0; v < kTileVectors && v * kTileLanes < rest; ++v) {
    const auto seen = hn::FirstN(d, static_cast<size_t>(rest - v * kTileLanes));
    m[v] = hn::IfThenElse(seen, hn::Max(m[v], hn::LoadU(d, last + v * kTileLanes)), m[v]);
  }
  Lanes16 lanes;
  for (size_t v = 0; v < kLaneVectors; ++v) lanes.v[v] = hn::Max(m[v], m[v + kLaneVectors]);
  row.maximum = combine(lanes, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); });
  const LaneVector top = hn::Set(d, row.maximum);
  for (int64_t p = 0; p < full; ++p) {
    float* at = scores + p * kBlockFloats;
    for (int64_t v = 0; v < kTileVectors; ++v) {
      const LaneVector e = exp_vector(d, hn::Sub(hn::LoadU(d, at + v * kTileLanes), top));
      hn::StoreU(e, d, at + v * kTileLanes);
      sum[v] = hn::Add(sum[v], e);
    }
  }
  for (int64_t v = 0; v < kTileVectors && v * kTileLanes < rest; ++v) {
    const auto seen = hn::FirstN(d, static_cast<size_t>(rest - v * kTileLanes));
    const LaneVector e =
        hn::IfThenElseZero(seen, exp_vector(d, hn::Sub(hn::LoadU(d, last + v * kTileLanes), top)));
    hn::StoreU(e, d, last + v * kTileLanes);
    sum[v] = hn::Add(sum[v], e);
  }
  for (size_t v = 0; v < kLaneVectors; ++v) lanes.v[v] = hn::Add(sum[v], sum[v + kLaneVectors]);
  row.sum = tree_sum(lanes);
}

// One task: where its parts lie in scratch, and the steps.
struct ForwardRun {
  const Forward& f;
  const ForwardTask& task;
  float* queries;  // [tile][k_blocks][12][32]
  float* scores;   // [tile][pages][12][32]
  float* outputs;  // [tile][12][v_blocks * 32]
  float* keys;     // [kPagesTogether][K][32], where pages hold keys by rows
  const int32_t* pages;
  int64_t pages_held;  // of the task's last row
  int64_t tiles;
  ForwardRow* rows;  // of the task

  void find_rows() const {  // without a division a row
    const int64_t heads = f.size.heads(), first = f.offsets[task.s];
    int64_t token = task.row_begin / heads, head = task.row_begin % heads;
    const int64_t position = f.positions[first];
    for (int64_t r = 0; r < task.row_end - task.row_begin; ++r) {
      rows[r].index = (first + token) * f.size.H + task.g * heads + head;
      rows[r].keys = position + token + 1;
      if (++head == heads) head = 0, ++token;
    }
  }
  int64_t tile_rows(int64_t tile) const {
    const int64_t left = task.row_end - task.row_begin - tile * f.tile_rows;
    return left < f.tile_rows ? left : f.tile_rows;
  }
  ForwardRow* tile_row(int64_t tile) const { return rows + tile * f.tile_rows; }
  float* tile_scores(int64_t tile) const { return scores + tile * pages_held * kBlockFloats; }
  float* tile_outputs(int64_t tile) const { return outputs + tile * f.size.v_blocks() * kBlockFloats; }

  void pack(int64_t tile) const {
    float* to = queries + tile * f.size.k_blocks() * kBlockFloats;
    for (int64_t r = 0; r < tile_rows(tile); ++r) {
      pack_row(f.q + tile_row(tile)[r].index * f.size.K, f.size.K, to + r * kKeyTile);
    }
  }

  // Keys of `count` pages, which hold them by rows, as scores want them. By fours: what follows the last key
  // is somebody's or nobody's, and its lanes are dropped.
  void transpose_keys(int64_t page, int64_t count) const {
    const int64_t K = f.size.K;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t left = (task.keys - (page + i) * kKeyTile + 3) / 4 * 4,
                    n = left < kKeyTile ? left : kKeyTile;
      const void* from = f.element(pages[page + i] * f.page_elements + task.g * K * kKeyTile);
      float* to = keys + i * K * kKeyTile;
      if (f.bf16_pages) {
        transpose_bf16_rows(static_cast<const uint16_t*>(from), K, n, K, to);
      } else {
        transpose_rows(static_cast<const float*>(from), K, n, K, to);
      }
    }
  }

  // Scores of page `page` and, for a tile of few rows, of the next one with it.
  void score(int64_t page, int64_t count) const {
    if (f.values_in_keys) transpose_keys(page, count);
    const int64_t first = task.g * f.size.K * kKeyTile;  // where keys begin in a page
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t rows = tile_rows(tile);
      const int64_t left = tile_row(tile)[rows - 1].keys - page * kKeyTile;
      if (left <= 0) continue;
      Chain c;
      c.a = queries + tile * f.size.k_blocks() * kBlockFloats;
      c.a_block = kBlockFloats;
      if (f.values_in_keys) {
        c.b = keys;
        c.b_panel = f.size.K * kKeyTile;
      } else {
        c.b = f.element(pages[page] * f.page_elements + first);
        c.b_bf16 = f.bf16_pages;
        if (count == 2) c.b_panel = (static_cast<int64_t>(pages[page + 1]) - pages[page]) * f.page_elements;
      }
      c.b_block = kKeyTile * kKeyTile;
      c.b_row = kKeyTile;
      c.k_end = f.size.K;
      c.c = tile_scores(tile) + page * kBlockFloats;
      c.c_row = kKeyTile;
      c.c_panel = kBlockFloats;
      c.scale = f.scale;
      const int64_t lanes = (left + 15) / 16 * 16;
      chain_rows(c, rows, lanes < count * kKeyTile ? lanes : count * kKeyTile);
    }
  }

  // Adds keys [begin, end) to rows [from, rows) of a tile.
  void add_values(int64_t tile, int64_t from, int64_t begin, int64_t end) const {
    Chain c;
    c.a = tile_scores(tile) + from * kKeyTile;
    c.a_block = kBlockFloats;
    c.b = f.element(f.values_at + task.g * kKeyTile * f.value_row);
    c.b_bf16 = f.bf16_pages;
    c.b_block = f.page_elements;
    c.pages = pages;
    c.b_row = f.value_row;
    c.k_begin = begin;
    c.k_end = end;
    c.c_row = f.size.v_blocks() * kKeyTile;
    c.c = tile_outputs(tile) + from * c.c_row;
    c.accumulate = begin > 0;
    chain_rows(c, tile_rows(tile) - from, f.size.V);
  }

  void values() const {
    constexpr int64_t kStep = kPagesAtOnce * kKeyTile;
    for (int64_t begin = 0; begin < task.keys; begin += kStep) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t common = tile_row(tile)->keys;  // what all rows of the tile see
        if (begin < common) add_values(tile, 0, begin, begin + kStep < common ? begin + kStep : common);
      }
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {  // the rest, one key a token
      const ForwardRow* row = tile_row(tile);
      for (int64_t r = 1; r < tile_rows(tile); ++r) {
        if (row[r].keys > row[r - 1].keys) add_values(tile, r, row[r - 1].keys, row[r].keys);
      }
    }
  }

  void finish(int64_t tile) const {
    const hn::ScalableTag<float> d;
    for (int64_t r = 0; r < tile_rows(tile); ++r) {
      const ForwardRow& row = tile_row(tile)[r];
      const auto sum = hn::Set(d, row.sum);
      map1(tile_outputs(tile) + r * f.size.v_blocks() * kKeyTile, f.out + row.index * f.size.V, f.size.V,
           [sum](auto, auto o) HWY_ATTR { return hn::Div(o, sum); });
      if (f.maxima != nullptr) {
        f.maxima[row.index] = row.maximum;
        f.sums[row.index] = row.sum;
      }
    }
  }
};

void forward_task_kernel(const Forward& f, const ForwardTask& task, float* scratch) {
  const int64_t tiles = f.tiles(task.row_end - task.row_begin);
  const int64_t pages = ceil_div(task.keys, kKeyTile);
  float* scores = scratch + tiles * f.size.k_blocks() * kBlockFloats;
  float* outputs = scores + tiles * pages * kBlockFloats;
  ForwardRow rows[kMaxTaskTiles * kTileRows];
  float* keys = outputs + tiles * f.size.v_blocks() * kBlockFloats;
  const ForwardRun run{f,     task,  scratch, scores, outputs, keys, f.page_table + task.s * f.max_pages,
                       pages, tiles, rows};
  run.find_rows();
  for (int64_t tile = 0; tile < tiles; ++tile) run.pack(tile);
  const int64_t together = run.tile_rows(0) <= kTileRows / 2 && kTileVectors == 2 ? kPagesTogether : 1;
  for (int64_t page = 0; page < pages; page += together) {
    run.score(page, page + together <= pages ? together : 1);
  }
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (int64_t r = 0; r < run.tile_rows(tile); ++r) {
      softmax_row(run.tile_scores(tile) + r * kKeyTile, run.tile_row(tile)[r]);
    }
  }
  run.values();
  for (int64_t tile = 0; tile < tiles; ++tile) run.finish(tile);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::attention_detail {
HWY_EXPORT(forward_task_kernel);
void forward_task(const Forward& f, const ForwardTask& task, float* scratch) {
  HWY_DYNAMIC_DISPATCH(forward_task_kernel)(f, task, scratch);
}
}  // namespace r1::attention_detail
#endif
