// ops/matmul/gemm_cpu.cc: how a product is cut into tiles for threads; the arithmetic is in gemm-inl.h.
#include <algorithm>

#include "ops/matmul/gemm.h"
#include "ops/matmul/gemm_avx512bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul/gemm_cpu.cc"
#include "hwy/foreach_target.h"
// These includes must come after foreach_target.h.
#include "hwy/highway.h"
#include "ops/matmul/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

void gemm_tile(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  using gemm_detail::Held;
  if (g.f16_pairs) {
    gemm_detail::tile<Held::f16>(g, m0, m1, p0, p1);
  } else if (g.product == Product::bf16) {
    gemm_detail::tile<Held::bf16>(g, m0, m1, p0, p1);
  } else {
    gemm_detail::tile<Held::f32>(g, m0, m1, p0, p1);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "base/error.h"
#include "base/integers.h"
#include "base/sanitizer.h"

namespace r1 {

namespace {

HWY_EXPORT(gemm_tile);

#if defined(R1_ADDRESS_SANITIZER)
void check_rows(const char* what, const Gemm& g, const float* first, int64_t rows, int64_t row,
                int64_t width) {
  for (int64_t i = 0; i < rows; ++i) {
    float* at = const_cast<float*>(first + i * row);
    const void* bad = __asan_region_is_poisoned(at, static_cast<size_t>(width) * sizeof(float));
    R1_CHECK(bad == nullptr, "matrix ", what, " leaves its memory at row ", i, ", float ",
             static_cast<const float*>(bad) - at, " of ", width, "; M ", g.M, " N ", g.N, " K ", g.K);
  }
}

// The micro-kernels are not instrumented, so this asks AddressSanitizer about all memory they will touch.
void check_memory(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  const bool by_rows = g.a_col == 1;
  if (by_rows) check_rows("A", g, g.a + m0 * g.a_row, g.K == 0 ? 0 : m1 - m0, g.a_row, g.K);
  if (!by_rows && g.a_row == 1) check_rows("A", g, g.a + m0, g.K, g.a_col, m1 - m0);
  for (int64_t p = p0; p < p1; ++p) {
    const int64_t width = std::min(kPanel, g.N - p * kPanel);
    check_rows("B", g, g.b + p * g.b_panel, g.product == Product::f32 ? g.K : pair_rows(g.K), g.b_row, width);
    check_rows("C", g, g.c + m0 * g.c_row + p * kPanel, m1 - m0, g.c_row, width);
  }
}
#else
void check_memory(const Gemm&, int64_t, int64_t, int64_t, int64_t) {}
#endif

// Computes one tile with the machine's best instruction set.
void run_tile(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  check_memory(g, m0, m1, p0, p1);
  if (g.product == Product::avx512bf16) return gemm_tile_avx512bf16(g, m0, m1, p0, p1);
  HWY_DYNAMIC_DISPATCH(gemm_tile)(g, m0, m1, p0, p1);
}

constexpr int64_t kTileRows = HWY_NAMESPACE::gemm_detail::kTileRows;

// Below this many FMAs (about 2 us on one core) a product stays on the calling thread.
constexpr int64_t kWorthAThread = 1 << 17;
constexpr int64_t kTilesAThread = 4;

// How one product is cut into tiles of `rows` x `panels`, numbered row by row.
struct Cut {
  int64_t rows = 0, panels = 0;  // per tile
  int64_t across = 0, tiles = 0;
};

int64_t panels_of(const Gemm& g) {
  return ceil_div(g.N, kPanel);
}

int64_t fmas(const Gemm& g) {
  return std::max<int64_t>(g.M, 8) * g.N * std::max<int64_t>(g.K, 1);
}

// Cuts a product into tiles of at most 192 x 256 (A's block of 192 KiB is read once per panel, B's panels
// once per tile, so both stay near) and of about `target` FMAs, so that all threads get some. It first lowers
// the number of rows, since row tiles share only B, then the number of panels.
Cut cut(const Gemm& g, int64_t target) {
  Cut c;
  if (g.M <= 0 || g.N <= 0) return c;
  const int64_t panels = panels_of(g);
  c.rows = std::min(g.M, kTileRows);
  c.panels = std::min<int64_t>(panels, 8);
  const int64_t a_panel_row = std::max<int64_t>(g.K, 1) * kPanel;  // FMAs
  while (c.rows > 24 && c.rows * c.panels * a_panel_row > target) c.rows = std::max<int64_t>(24, c.rows / 2);
  while (c.panels > 1 && c.rows * c.panels * a_panel_row > target) c.panels = (c.panels + 1) / 2;
  while (c.rows > 12 && c.rows * c.panels * a_panel_row > target) c.rows = 12;
  // With equal heights and equal widths, no thread waits for a small last tile.
  c.rows = ceil_div(g.M, ceil_div(g.M, c.rows));
  c.panels = ceil_div(panels, ceil_div(panels, c.panels));
  c.across = ceil_div(panels, c.panels);
  c.tiles = ceil_div(g.M, c.rows) * c.across;
  return c;
}

int64_t target_of(const ThreadPool& threads, int64_t work, int64_t tiles_a_thread) {
  return std::max<int64_t>(work / (threads.size() * tiles_a_thread), kWorthAThread / 4);
}

// True for gradients of weights: C is small and K is long, and each tile reads A and B from beyond the
// caches. Such products are cut no finer than the threads need.
bool is_long(const Gemm& g) {
  return g.K >= 4 * g.M && g.K >= 4 * g.N;
}

Cut cut_long(const Gemm& g, int64_t threads) {
  constexpr int64_t kFewestRows = 16;
  int64_t rows = ceil_div(g.M, threads);
  if (rows < kFewestRows) return cut(g, fmas(g) / threads);
  if (rows > kTileRows) rows = ceil_div(g.M, ceil_div(rows, kTileRows) * threads);
  const int64_t panels = panels_of(g), across = ceil_div(panels, 8);
  return {.rows = rows,
          .panels = ceil_div(panels, across),
          .across = across,
          .tiles = ceil_div(g.M, rows) * across};
}

void run_tile(const Gemm& g, const Cut& c, int64_t i) {
  const int64_t m = i / c.across * c.rows, p = i % c.across * c.panels;
  run_tile(g, m, std::min(m + c.rows, g.M), p, std::min(p + c.panels, panels_of(g)));
}

}  // namespace

void gemm(ThreadPool& threads, const Gemm& g) {
  if (threads.is_idle()) return;
  const int64_t work = fmas(g);
  if (threads.size() == 1 || work < kWorthAThread) return gemm_serial(g);
  const Cut c = is_long(g) ? cut_long(g, threads.size()) : cut(g, target_of(threads, work, kTilesAThread));
  threads.parallel_for(c.tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run_tile(g, c, i);
  });
}

void gemm_serial(const Gemm& g) {
  if (g.M <= 0 || g.N <= 0) return;
  if (g.M <= kTileRows) return run_tile(g, 0, g.M, 0, panels_of(g));
  const Cut c = cut(g, fmas(g));
  for (int64_t i = 0; i < c.tiles; ++i) run_tile(g, c, i);
}

void gemm_batch(ThreadPool& threads, std::span<const Gemm> list) {
  if (threads.is_idle()) return;
  if (threads.size() == 1) {
    for (const Gemm& g : list) gemm_serial(g);
    return;
  }
  constexpr size_t kGroup = 256;  // products cut together; their cuts lie on the stack
  for (; list.size() > kGroup; list = list.subspan(kGroup)) gemm_batch(threads, list.first(kGroup));
  int64_t work = 0;
  for (const Gemm& g : list) work += fmas(g);
  const bool all_long = std::ranges::all_of(list, is_long);
  const int64_t target = target_of(threads, work, all_long ? 2 : kTilesAThread);
  Cut cuts[kGroup];
  int64_t ends[kGroup];
  int64_t tiles = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    cuts[i] = cut(list[i], target);
    ends[i] = tiles += cuts[i].tiles;
  }
  const int64_t grain = work < kWorthAThread ? tiles : 1;
  threads.parallel_for(tiles, grain, [&](int64_t begin, int64_t end) {
    size_t at = static_cast<size_t>(std::upper_bound(ends, ends + list.size(), begin) - ends);
    for (int64_t i = begin; i < end; ++i) {
      while (i >= ends[at]) ++at;
      run_tile(list[at], cuts[at], i - (ends[at] - cuts[at].tiles));
    }
  });
}

}  // namespace r1
#endif  // HWY_ONCE
