// ops/matmul/quant_cpu.cc: how products with blocks are cut into tiles for threads.
//
// A thread takes some panels and up to kRowsAJob rows. It unpacks a chunk of a panel into its cache and lets
// the kernel run over all those rows before it goes on, so that unpacking is shared. Sums rest in memory
// between chunks, which rounds nothing.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/quant_dot.h"

namespace r1 {
namespace {

constexpr int64_t kRowsAJob = 96;
constexpr int64_t kRowsTogether = 24;  // a multiple of what kernels take at a time
// Below this many products of numbers (a few microseconds on one core) a list stays on the calling thread.
constexpr int64_t kWorthAThread = 1 << 19;

void run_panel(const QuantProduct& p, const QuantRowLayout& layout, int64_t panel, int64_t m0, int64_t m1,
               QuantScratch& scratch) {
  const QuantTraits& t = quant_traits(p.w.format);
  const int64_t panel_bytes = quant_panel_bytes(p.w.format, p.w.K);
  const std::byte* bytes = p.w.panels + panel * panel_bytes;
  const int64_t rows = m1 - m0, blocks = p.w.K / t.block;
  // Few rows: the chunk stays in the innermost cache beside the panel's bytes that stream through it.
  const int64_t chunk = std::max<int64_t>(1, (rows < 4 ? 512 : kChunk) / t.block);
  alignas(64) float acc[kRowsAJob * kQuantPanel];
  std::fill_n(acc, rows * kQuantPanel, 0.0f);
  const std::byte* x = p.x + m0 * layout.bytes;
  for (int64_t b = 0; b < blocks; b += chunk) {
    const int64_t count = std::min(chunk, blocks - b), k = b * t.block;
    QuantTile tile;
    tile.traits = t;
    tile.w = unpack_quant(t, bytes, p.w.K, b, count, scratch);
    tile.blocks = count;
    tile.q = reinterpret_cast<const int8_t*>(x) + k;
    tile.d = reinterpret_cast<const float*>(x + layout.d) + b;
    tile.start = reinterpret_cast<const int32_t*>(x + layout.start) + k / t.sub;
    tile.sums = reinterpret_cast<const int32_t*>(x + layout.sums) + (t.scaled ? k / t.sub / 2 : b);
    tile.row = layout.bytes;
    tile.rows = rows;
    tile.acc = acc;
    // This chunk's share of the panel after this one.
    if ((panel + 1) * kQuantPanel < p.w.N) {
      tile.next = bytes + panel_bytes + panel_bytes * b / blocks;
      tile.next_bytes = panel_bytes * count / blocks;
    }
    quant_kernel().run(tile);
  }
  const int64_t n = panel * kQuantPanel, width = std::min(kQuantPanel, p.w.N - n);
  for (int64_t m = 0; m < rows; ++m)
    std::memcpy(p.y + (m0 + m) * p.w.N + n, acc + m * kQuantPanel,
                static_cast<size_t>(width) * sizeof(float));
}

struct Cut {
  int64_t panels = 0;  // per job
  int64_t across = 0;  // jobs side by side
  int64_t jobs = 0;
  int64_t rows = 0;  // per job
};

Cut cut_of(const QuantProduct& p, int64_t threads) {
  Cut cut;
  if (p.M <= 0 || p.w.N <= 0) return cut;
  const int64_t panels = ceil_div(p.w.N, kQuantPanel), down = ceil_div(p.M, kRowsAJob);
  cut.rows = ceil_div(p.M, down);
  if (down > 1) cut.rows = std::min(kRowsAJob, ceil_div(cut.rows, kRowsTogether) * kRowsTogether);
  // About eight jobs per thread, for threads that lose their core for a while, of at least some microseconds.
  const int64_t wanted = ceil_div(8 * threads, down);
  const int64_t least = ceil_div(kWorthAThread / 4, std::max<int64_t>(1, cut.rows * kQuantPanel * p.w.K));
  cut.panels = std::clamp<int64_t>(std::max(ceil_div(panels, wanted), least), 1, panels);
  cut.across = ceil_div(panels, cut.panels);
  cut.jobs = cut.across * ceil_div(p.M, cut.rows);
  return cut;
}

void run_job(const QuantProduct& p, const QuantRowLayout& layout, const Cut& cut, int64_t job) {
  alignas(64) QuantScratch scratch;
  const int64_t m0 = job / cut.across * cut.rows, m1 = std::min(m0 + cut.rows, p.M);
  const int64_t first = job % cut.across * cut.panels,
                end = std::min(first + cut.panels, ceil_div(p.w.N, kQuantPanel));
  for (int64_t panel = first; panel < end; ++panel) run_panel(p, layout, panel, m0, m1, scratch);
}

}  // namespace

void quant_products(ThreadPool& threads, std::span<const QuantProduct> list) {
  if (threads.is_idle()) return;
  constexpr size_t kGroup = 256;  // products cut together; their cuts lie on the stack
  for (; list.size() > kGroup; list = list.subspan(kGroup)) quant_products(threads, list.first(kGroup));
  Cut cuts[kGroup];
  int64_t ends[kGroup];
  int64_t jobs = 0, work = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    cuts[i] = cut_of(list[i], threads.size());
    ends[i] = jobs += cuts[i].jobs;
    work += list[i].M * list[i].w.N * list[i].w.K;
  }
  if (jobs == 0) return;
  const int64_t grain = work < kWorthAThread ? jobs : 1;
  threads.parallel_for(jobs, grain, [&](int64_t begin, int64_t end) {
    auto at = static_cast<size_t>(std::upper_bound(ends, ends + list.size(), begin) - ends);
    for (int64_t i = begin; i < end; ++i) {
      while (i >= ends[at]) ++at;
      const QuantRowLayout layout(list[at].w.format, list[at].w.K);
      run_job(list[at], layout, cuts[at], i - (ends[at] - cuts[at].jobs));
    }
  });
}

}  // namespace r1
