// ops/attention/forward_cpu.cc: the forward kernels: scores, softmax, values, one task at a time.
//
// A task is a few tiles of 12 query rows of one group and of one sequence, or of several that share a
// prefix. The scores of all its keys are held (48 bytes per key and tile), so that the maximum is known
// before the first exponential and every sum walks keys in order. Scores of masked keys that share a page
// with visible ones are computed in their own lanes and dropped, and values stop at each row's last key: no
// masked slot reaches a result. A prefix that several sequences share is processed once, with full tiles,
// before each sequence's own keys.
#include <limits>

#include "ops/attention/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/forward_cpu.cc"
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

// The values of this many pages stay in the cache while all tiles of a task pass over them.
constexpr int64_t kPagesAtOnce = 8;
constexpr int64_t kTileLanes = static_cast<int64_t>(kLaneWidth);
constexpr int64_t kTileVectors = kKeyTile / kTileLanes;
constexpr int64_t kBytesOfScale = static_cast<int64_t>(sizeof(float));

// One query row: its index in [T, H], the number of keys it sees, and its softmax, for the backward.
struct ForwardRow {
  int64_t index, keys;
  float maximum, sum;
};

// scores[page][32] of one row, pages kBlockFloats apart -> exp(score - maximum), zeros after the last key.
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

// The pages of a sequence's keys and values, as in tensor/batch.h.
struct Source {
  const int32_t* pages;
  int64_t prefix;
  int32_t tail;
  // The page where the prefix ends, and how many of its slots come from the tail.
  int64_t split_page() const { return tail < 0 ? -1 : prefix / kKeyTile; }
  int64_t split_slot() const { return prefix % kKeyTile; }
};

// Rows of one tile that read the same pages.
struct Span {
  int64_t tile, from, rows;
};

// One task: its parts of scratch, and its steps.
struct ForwardRun {
  const Forward& f;
  const ForwardTask& task;
  float* queries;  // [tile][k_blocks][12][32]
  float* scores;   // [tile][pages][12][32]
  float* outputs;  // [tile][12][v_blocks * 32]
  float* keys;     // [kPagesTogether][K][32]: pages that cannot be read in place
  int64_t pages_held;
  int64_t height;    // rows of a tile
  ForwardRow* rows;  // the rows of the task

  void find_rows() const {  // without a division per row
    const int64_t heads = f.size.heads();
    ForwardRow* row = rows;
    for (int64_t s = task.s; s < task.s + task.sequences; ++s) {
      const int64_t first = f.offsets[s], position = f.positions[first];
      int64_t token = task.row_begin / heads, head = task.row_begin % heads;
      for (int64_t r = task.row_begin; r < task.row_end; ++r, ++row) {
        row->index = (first + token) * f.size.H + task.g * heads + head;
        row->keys = position + token + 1;
        if (++head == heads) head = 0, ++token;
      }
    }
  }
  Source source(int64_t s) const {
    const int32_t* pages = f.page_table + s * f.max_pages;
    if (f.prefixes == nullptr) return {pages, 0, -1};
    return {pages, f.prefixes[s], f.tails[s]};
  }
  // Spans of all rows, one whole tile each. sequence_span: the rows of one of several sequences.
  int64_t whole_tiles(Span* to) const {
    int64_t n = 0;
    for (int64_t r = 0; r < task.rows(); r += height) {
      to[n] = {n, 0, task.rows() - r < height ? task.rows() - r : height};
      ++n;
    }
    return n;
  }
  Span sequence_span(int64_t i) const {
    const int64_t heads = f.size.heads(), row = i * heads;
    return {row / height, row % height, heads};
  }

  ForwardRow* first_row(const Span& s) const { return rows + s.tile * height + s.from; }
  float* tile_queries(int64_t tile) const { return queries + tile * f.size.k_blocks() * kBlockFloats; }
  float* tile_scores(int64_t tile) const { return scores + tile * pages_held * kBlockFloats; }
  float* tile_outputs(int64_t tile) const { return outputs + tile * f.size.v_blocks() * kBlockFloats; }

  void pack(const Span& s) const {
    float* to = tile_queries(s.tile);
    for (int64_t r = 0; r < s.rows; ++r) {
      pack_row(f.q + first_row(s)[r].index * f.size.K, f.size.K, to + r * kKeyTile);
    }
  }

  // Element 0 of the group's keys in a page.
  template <class E>
  const E* keys_in(int64_t page) const {
    return static_cast<const E*>(f.element(page * f.page_elements + task.g * f.size.K * kKeyTile));
  }
  const float* scales_in(int64_t page, int64_t part) const { return f.scales(page, task.g, part); }
  // Transposes slots [begin, end) of a page that holds keys by rows into [K][32].
  void transpose_page(const Source& from, int64_t page, int64_t begin, int64_t end, float* to) const {
    const int64_t K = f.size.K, V = f.size.V, shared = page == from.split_page() ? from.split_slot() : 0;
    const int64_t own = from.pages[page];
    const auto page_of = [=, tail = from.tail](int64_t j) { return j < shared ? tail : own; };
    switch (f.pages) {
      case DType::bf16:
        return transpose_widened_rows(
            [&](int64_t j, int64_t first, int64_t width, float* wide)
                HWY_ATTR { widen_row(keys_in<uint16_t>(page_of(j)) + j * K + first, width, wide); },
            begin, end, K, to);
      case DType::q8:
        return transpose_widened_rows(
            [&](int64_t j, int64_t first, int64_t width, float* wide) HWY_ATTR {
              const int64_t at = page_of(j);
              const float scales[2] = {scales_in(at, 0)[j], scales_in(at, 1)[j]};
              widen_q8_row(keys_in<int8_t>(at) + j * K, first, width, V, scales, wide);
            },
            begin, end, K, to);
      default:
        return transpose_rows_of([&](int64_t j) { return keys_in<float>(page_of(j)) + j * K; }, begin, end, K,
                                 to);
    }
  }
  // Builds the page where the prefix ends, for pages that hold keys transposed.
  template <class E>
  void join_page(const Source& from, float* to) const {
    const int64_t page = from.split_page(), shared = from.split_slot();
    const E *tail = keys_in<E>(from.tail), *own = keys_in<E>(from.pages[page]);
    for (int64_t k = 0; k < f.size.K; ++k, tail += kKeyTile, own += kKeyTile, to += kKeyTile) {
      for (int64_t j = 0; j < kKeyTile; ++j) to[j] = widened(j < shared ? tail[j] : own[j]);
    }
  }
  void join_q8_page(const Source& from, float* to) const {
    const int64_t page = from.split_page(), shared = from.split_slot();
    float scales[kKeyTile];
    for (int64_t j = 0; j < kKeyTile; ++j)
      scales[j] = scales_in(j < shared ? from.tail : from.pages[page], 0)[j];
    const int8_t *tail = keys_in<int8_t>(from.tail), *own = keys_in<int8_t>(from.pages[page]);
    for (int64_t k = 0; k < f.size.K; ++k, tail += kKeyTile, own += kKeyTile, to += kKeyTile) {
      for (int64_t j = 0; j < kKeyTile; ++j)
        to[j] = static_cast<float>(j < shared ? tail[j] : own[j]) * scales[j];
    }
  }

  // Points c.b at keys [begin, end) of `count` pages from `page` on. Keys are transposed in fours: slots
  // after the last key may belong to another sequence or to none, and their lanes are dropped.
  void find_keys(Chain& c, const Source& from, int64_t page, int64_t count, int64_t begin,
                 int64_t end) const {
    const int64_t K = f.size.K, at = page * kKeyTile;
    c.b = keys;
    c.b_panel = K * kKeyTile;
    if (f.values_in_keys) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t first = i == 0 && begin > at ? begin - at : 0,
                      left = (end - at - i * kKeyTile + 3) / 4 * 4;
        const int64_t last = left < kKeyTile ? left : kKeyTile;
        transpose_page(from, page + i, first, last, keys + i * K * kKeyTile);
      }
    } else if (page == from.split_page()) {
      if (f.pages == DType::bf16) {
        join_page<uint16_t>(from, keys);
      } else if (f.pages == DType::q8) {
        join_q8_page(from, keys);
      } else {
        join_page<float>(from, keys);
      }
    } else {
      c.b = keys_in<void>(from.pages[page]);
      c.b_type = f.pages;
      if (count == 2)
        c.b_panel = (static_cast<int64_t>(from.pages[page + 1]) - from.pages[page]) * f.page_elements;
      if (f.pages != DType::q8) return;
      c.scales = scales_in(from.pages[page], 0);
      c.scales_of_columns = true;
      c.scale_panel = count == 2 ? c.b_panel / kBytesOfScale : 0;
    }
  }

  // Computes scores of keys [begin, end), begin a multiple of 16; rows that see fewer stop there. Tiles of
  // few rows take two pages at a time.
  void score(const Source& from, const Span* spans, int64_t count, int64_t begin, int64_t end) const {
    const int64_t pages = ceil_div(end, kKeyTile);
    const int64_t most = spans[0].rows <= kTileRows / 2 && kTileVectors == 2 ? kPagesTogether : 1;
    for (int64_t page = begin / kKeyTile, n; page < pages; page += n) {
      const bool apart = !f.values_in_keys && (page == from.split_page() || page + 1 == from.split_page());
      n = page + most <= pages && !apart ? most : 1;
      const int64_t at = page * kKeyTile;
      Chain c;
      find_keys(c, from, page, n, begin, end);
      c.a_block = kBlockFloats;
      c.b_block = kKeyTile * kKeyTile;
      c.b_row = kKeyTile;
      c.k_end = f.size.K;
      c.c_row = kKeyTile;
      c.c_panel = kBlockFloats;
      c.scale = f.scale;
      for (const Span* s = spans; s < spans + count; ++s) {
        const int64_t seen = first_row(*s)[s->rows - 1].keys, left = (seen < end ? seen : end) - at;
        if (left <= 0) continue;
        c.a = tile_queries(s->tile) + s->from * kKeyTile;
        c.c = tile_scores(s->tile) + page * kBlockFloats + s->from * kKeyTile;
        const int64_t lanes = (left + 15) / 16 * 16;
        chain_rows(c, s->rows, begin > at ? begin - at : 0, lanes < n * kKeyTile ? lanes : n * kKeyTile);
      }
    }
  }

  // Adds the values of keys [begin, end) to a span's rows. The page of a key is pages[key / kKeyTile], or
  // `tail` for all keys if pages is null.
  void add_pages(const int32_t* pages, int64_t tail, const Span& s, int64_t begin, int64_t end) const {
    if (begin >= end) return;
    const int64_t values = f.values_at + task.g * kKeyTile * f.value_row;
    Chain c;
    c.a = tile_scores(s.tile) + s.from * kKeyTile;
    c.a_block = kBlockFloats;
    c.b = f.element(values + (pages == nullptr ? tail * f.page_elements : 0));
    c.b_type = f.pages;
    if (f.pages == DType::q8) {
      c.scales = scales_in(pages == nullptr ? tail : 0, f.values_in_keys ? 0 : 1);
      c.scale_block = pages == nullptr ? 0 : f.page_elements / kBytesOfScale;
    }
    c.b_block = pages == nullptr ? 0 : f.page_elements;
    c.pages = pages;
    c.b_row = f.value_row;
    c.k_begin = begin;
    c.k_end = end;
    c.c_row = f.size.v_blocks() * kKeyTile;
    c.c = tile_outputs(s.tile) + s.from * c.c_row;
    c.accumulate = begin > 0;
    chain_rows(c, s.rows, 0, f.size.V);
  }
  void add_values(const Source& from, const Span& s, int64_t begin, int64_t end) const {
    if (from.tail < 0) return add_pages(from.pages, -1, s, begin, end);
    const int64_t split = from.split_page() * kKeyTile;
    const auto within = [=](int64_t key) { return key < begin ? begin : key < end ? key : end; };
    add_pages(from.pages, -1, s, begin, within(split));
    add_pages(nullptr, from.tail, s, within(split), within(from.prefix));
    add_pages(from.pages, -1, s, within(from.prefix), end);
  }

  // Adds values from key `begin` on, which all rows see, up to each row's last key.
  void values(const Source& from, const Span* spans, int64_t count, int64_t begin, int64_t end) const {
    constexpr int64_t kStep = kPagesAtOnce * kKeyTile;
    for (; begin < end; begin = begin / kStep * kStep + kStep) {
      const int64_t next = begin / kStep * kStep + kStep, stop = next < end ? next : end;
      for (const Span* s = spans; s < spans + count; ++s) {
        const int64_t common = first_row(*s)->keys;  // keys that all rows of the span see
        add_values(from, *s, begin, stop < common ? stop : common);
      }
    }
    for (const Span* s = spans; s < spans + count; ++s) {  // the rest, one key per token
      const ForwardRow* row = first_row(*s);
      for (int64_t r = 1; r < s->rows; ++r) {
        if (row[r].keys > row[r - 1].keys && row[r - 1].keys < end)
          add_values(from, {s->tile, s->from + r, s->rows - r}, row[r - 1].keys, row[r].keys);
      }
    }
  }

  void finish(const Span& s) const {
    const hn::ScalableTag<float> d;
    for (int64_t r = 0; r < s.rows; ++r) {
      const ForwardRow& row = first_row(s)[r];
      const auto sum = hn::Set(d, row.sum);
      map1(tile_outputs(s.tile) + r * f.size.v_blocks() * kKeyTile, f.out + row.index * f.size.V, f.size.V,
           [sum](auto, auto o) HWY_ATTR { return hn::Div(o, sum); });
      if (f.maxima != nullptr) {
        f.maxima[row.index] = row.maximum;
        f.sums[row.index] = row.sum;
      }
    }
  }
};

void forward_task_kernel(const Forward& f, const ForwardTask& task, float* scratch) {
  const int64_t held = f.tiles(task), pages = ceil_div(task.keys, kKeyTile);
  float* scores = scratch + held * f.size.k_blocks() * kBlockFloats;
  float* outputs = scores + held * pages * kBlockFloats;
  ForwardRow rows[kMaxTaskTiles * kTileRows];
  float* keys = outputs + held * f.size.v_blocks() * kBlockFloats;
  const ForwardRun run{f, task, scratch, scores, outputs, keys, pages, f.tile_height(task), rows};
  run.find_rows();
  Span tiles[kMaxTaskTiles];
  const int64_t count = run.whole_tiles(tiles);
  for (int64_t i = 0; i < count; ++i) run.pack(tiles[i]);
  const Source first = run.source(task.s);
  // The keys that all sequences share: their scores are computed by whole vectors, their values for all rows.
  const int64_t prefix = task.sequences > 1 ? first.prefix : 0, scored = prefix / 16 * 16;
  if (scored > 0) run.score(first, tiles, count, 0, scored);
  if (task.sequences == 1) run.score(first, tiles, count, 0, task.keys);
  for (int64_t i = 0; task.sequences > 1 && i < task.sequences; ++i) {
    const Span span = run.sequence_span(i);
    run.score(run.source(task.s + i), &span, 1, scored, run.first_row(span)->keys);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t r = 0; r < tiles[i].rows; ++r) {
      softmax_row(run.tile_scores(i) + r * kKeyTile, run.first_row(tiles[i])[r]);
    }
  }
  if (task.sequences == 1) {
    run.values(first, tiles, count, 0, task.keys);
  } else {
    run.values(first, tiles, count, 0, prefix);
    for (int64_t i = 0; i < task.sequences; ++i) {
      const Span span = run.sequence_span(i);
      run.values(run.source(task.s + i), &span, 1, prefix, run.first_row(span)->keys);
    }
  }
  for (int64_t i = 0; i < count; ++i) run.finish(tiles[i]);
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
