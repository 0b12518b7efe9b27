// ops/attention/attention_cpu.cc: attention on the CPU: writes pages, and cuts the work into tasks for the
// kernels.
//
// How rows are cut into tiles, tasks and threads changes no bit (attention.h), so speed alone decides.
#include <algorithm>
#include <functional>
#include <utility>

#include "ops/attention/attention_backend.h"
#include "ops/attention/kernels_cpu.h"
#include "ops/convert/convert.h"

namespace r1::cpu {

namespace {

using namespace attention_detail;

// A task's scores should stay within the second-level cache.
constexpr int64_t kScoreBudget = 1 << 18;  // floats
// Row tiles of one backward block. The accumulators of dk and dv are loaded and stored once per block.
constexpr int64_t kBackwardTiles = 8;
constexpr int64_t kBackwardBudget = 1 << 20;  // floats of p and ds

int64_t padded(int64_t floats) {
  return (floats + 15) / 16 * 16;
}

// Writes all keys and values before any key is read, because rows may share pages. Tokens may be cut
// anywhere, since each token is one slot.
void write_rows(ThreadPool& threads, const Forward& f, const Batch& batch) {
  const int64_t T = batch.T(), grain = std::max<int64_t>(kKeyTile, ceil_div(T, 8 * threads.size()));
  threads.parallel_for(T, grain, [&f, &batch](int64_t begin, int64_t end) {
    int64_t s =
        std::upper_bound(batch.offsets.begin(), batch.offsets.end(), begin) - batch.offsets.begin() - 1;
    for (; begin < end; begin = f.offsets[++s]) {
      const int64_t stop = std::min<int64_t>(end, f.offsets[s + 1]);
      for (int64_t g = 0; g < f.size.G && begin < stop; ++g) write_pages(f, s, g, begin, stop);
    }
  });
}

// Returns the end of the neighbours of row s, at most `most` rows, that one task may take: all have one token
// and the prefix of row s.
int64_t same_prefix(const Batch& batch, int64_t s, int64_t most) {
  constexpr int64_t kLeastShared = 16;  // scores are shared by whole vectors
  const int64_t prefix = batch.prefix(s);
  if (prefix < kLeastShared) return s + 1;
  const auto one_token = [&](int64_t i) {
    return batch.offsets[static_cast<size_t>(i + 1)] - batch.offsets[static_cast<size_t>(i)] == 1;
  };
  const auto shared_pages = [&](int64_t i) {
    return batch.pages.subspan(static_cast<size_t>(i * batch.max_pages),
                               static_cast<size_t>(prefix / kKeyTile));
  };
  int64_t end = s;
  while (end < batch.S() && end - s < most && one_token(end) && batch.prefix(end) == prefix &&
         batch.tail(end) == batch.tail(s) && std::ranges::equal(shared_pages(end), shared_pages(s))) {
    ++end;
  }
  return std::max(end, s + 1);
}

// How many rows of the batch a task may take: at most `tiles` tiles, and few enough to keep all threads busy.
int64_t most_together(const Forward& f, int64_t S, int64_t threads, int64_t tiles) {
  const int64_t heads = f.size.heads();
  if (heads > kTileRows || f.tile_rows < kTileRows || f.prefixes == nullptr) return 1;
  const int64_t fair = threads == 1 ? S : S * f.size.G / (4 * threads);
  return std::clamp<int64_t>(fair, 1, tiles * (kTileRows / heads));
}

// Cuts every (row of the batch, group) into tasks and sets how many rows a tile has. The longest tasks come
// first if the order matters.
std::span<ForwardTask> make_tasks(Context& ctx, Forward& f, const Batch& batch) {
  const int64_t S = batch.S(), heads = f.size.heads(), threads = ctx.threads.size();
  int64_t rows = 0, tiles = 0, most = 0;
  for (int64_t s = 0; s < S; ++s) {
    const int64_t n = f.offsets[s + 1] - f.offsets[s];
    rows += n * heads * f.size.G;
    tiles += ceil_div(n * heads, kTileRows) * f.size.G;
    if (n > 0) most = std::max<int64_t>(most, f.positions[f.offsets[s + 1] - 1] + 1);
  }
  if (tiles < threads) f.tile_rows = std::clamp<int64_t>(ceil_div(rows, threads), 1, kTileRows);
  const int64_t page_floats = ceil_div(std::max<int64_t>(most, 1), kKeyTile) * kBlockFloats;
  const int64_t most_tiles = std::clamp<int64_t>(kScoreBudget / page_floats, 1, kMaxTaskTiles);
  const int64_t step = std::clamp<int64_t>(tiles / (8 * threads), 1, most_tiles) * f.tile_rows;
  const int64_t together = most_together(f, S, threads, most_tiles);
  int64_t count = 0;
  for (int64_t s = 0; s < S; ++s)
    count += f.size.G * ceil_div((f.offsets[s + 1] - f.offsets[s]) * heads, step);
  ForwardTask* tasks = ctx.host().array<ForwardTask>(count);
  int64_t at = 0;
  double total = 0, longest = 0;
  const auto cost = [](const ForwardTask& t) {
    return static_cast<double>(t.keys) * static_cast<double>(t.rows());
  };
  const auto add = [&](const ForwardTask& task) {
    total += cost(task);
    longest = std::max(longest, cost(task));
    tasks[at++] = task;
  };
  for (int64_t s = 0, end; s < S; s = end) {
    end = same_prefix(batch, s, together);
    const auto first = static_cast<int32_t>(s), sequences = static_cast<int32_t>(end - s);
    const int64_t all = (f.offsets[s + 1] - f.offsets[s]) * heads;
    for (int32_t g = 0; g < f.size.G; ++g) {
      if (sequences > 1) {
        int64_t keys = 0;
        for (int64_t i = s; i < end; ++i) keys = std::max<int64_t>(keys, f.positions[f.offsets[i]] + 1);
        add({first, sequences, g, 0, heads, keys});
        continue;
      }
      for (int64_t row = 0; row < all; row += step) {
        const int64_t last = std::min(row + step, all);
        add({first, 1, g, row, last, f.positions[f.offsets[s]] + (last - 1) / heads + 1});
      }
    }
  }
  if (longest * static_cast<double>(16 * threads) > total && !ctx.measuring) {
    std::sort(tasks, tasks + at,
              [&cost](const ForwardTask& a, const ForwardTask& b) { return cost(a) > cost(b); });
  }
  return {tasks, static_cast<size_t>(at)};
}

void forward(Context& ctx, Forward& f, const Batch& batch) {
  write_rows(ctx.threads, f, batch);
  const std::span<ForwardTask> tasks = make_tasks(ctx, f, batch);
  int64_t floats = 0;
  for (const ForwardTask& t : tasks) {
    floats = std::max(floats, f.scratch_floats(t));
  }
  float* scratch = ctx.arena.array<float>(floats * ctx.threads.size());  // blocks of 384 floats: aligned
  ctx.threads.parallel_for_thread(static_cast<int64_t>(tasks.size()), 1,
                                  [&f, tasks, scratch, floats](int64_t begin, int64_t end, int thread) {
                                    for (int64_t i = begin; i < end; ++i) {
                                      forward_task(f, tasks[static_cast<size_t>(i)],
                                                   scratch + thread * floats);
                                    }
                                  });
}

// ---- backward

// One group of rows [begin, end) of the batch: a parent (or a row without children) and then its children.
struct RowFamily {
  int32_t begin = 0, end = 0, g = 0;
  int64_t keys = 0, tokens = 0;  // of the longest row
  double cost = 0;
  bool wide = false;  // cut over all threads, because a single thread would leave the others idle
};

// Steps of children are short, so their families must be larger before cutting them pays.
bool is_wide(const RowFamily& x, int64_t threads, double total) {
  const int64_t shares = x.end - x.begin > 1 ? threads : 4 * threads;
  return threads > 1 && x.cost * static_cast<double>(shares) > total;
}

// Row tiles of a block that is shared by `threads` threads.
int64_t block_tiles(const Sizes& size, const RowFamily& family, int64_t threads) {
  const int64_t tiles = ceil_div(family.tokens * size.heads(), kTileRows);
  const int64_t fit = threads * kBackwardBudget / (2 * ceil_div(family.keys, kKeyTile) * kBlockFloats);
  return std::clamp<int64_t>(fit, 1, std::min(tiles, std::max(kBackwardTiles, 4 * threads)));
}

// The current row: gradients of its queries, and its contributions to the gradients of the keys that it sees.
void backward_row(ThreadPool& threads, const BackwardTask& t) {
  const Backward& job = *t.job;
  threads.parallel_for(t.own_tiles(), 1, [&t](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) backward_begin(t, t.first_own_tile() + i);
  });
  const int64_t tiles = ceil_div(t.rows, kTileRows);
  for (int64_t first = 0; first < tiles; first += t.block_tiles) {
    const int64_t last = std::min(first + t.block_tiles, tiles);
    threads.parallel_for(last - first, 1, [&t, first](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) backward_rows(t, first, first + i);
    });
    if (job.dk == nullptr && job.dv == nullptr) continue;
    const int64_t seen = std::min(last * kTileRows, t.rows) - 1;  // the last row of the block
    const int64_t strips = ceil_div(t.prefix + seen / job.size.heads() + 1, kKeyStrip);
    threads.parallel_for(strips, 2, [&t, first, last](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) backward_keys(t, first, last, i);
    });
  }
}

void backward_own_keys(ThreadPool& threads, const BackwardTask& t) {
  threads.parallel_for(t.own_tiles(), 1, [&t](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) backward_end(t, t.first_own_tile() + i);
  });
}

// One family and group, its steps cut over `sharing` threads. Inside a parallel region sharing is 1 and the
// calling thread does it all.
void backward_family(ThreadPool& threads, const Backward& job, const RowFamily& family, int64_t sharing,
                     float* scratch) {
  BackwardTask t;
  t.job = &job;
  t.g = family.g;
  t.key_tiles = ceil_div(family.keys, kKeyTile);
  t.block_tiles = block_tiles(job.size, family, sharing);
  t.place(scratch);
  t.enter(family.begin);
  backward_row(threads, t);
  for (int64_t child = family.begin + 1; child < family.end; ++child) {
    t.enter(child);
    backward_row(threads, t);
    backward_own_keys(threads, t);
  }
  t.enter(family.begin);
  backward_own_keys(threads, t);
}

// Families by group: the wide ones, then the others, each with the longest first.
std::span<RowFamily> make_families(Context& ctx, const Backward& job, int64_t S) {
  RowFamily* list = ctx.host().array<RowFamily>(S * job.size.G);
  int64_t count = 0;
  for (int64_t s = 0; s < S;) {
    RowFamily family{.begin = static_cast<int32_t>(s)};
    BackwardTask t{.job = &job};
    do {
      t.enter(s++);
      family.tokens = std::max(family.tokens, t.tokens);
      family.keys = std::max(family.keys, t.keys());
      family.cost += static_cast<double>(t.tokens) * static_cast<double>(t.keys());
    } while (s < S && job.parents != nullptr && job.parents[s] >= 0);
    family.end = static_cast<int32_t>(s);
    for (int64_t g = 0; g < job.size.G && family.tokens > 0; ++g) {
      family.g = static_cast<int32_t>(g);
      list[count++] = family;
    }
  }
  const std::span<RowFamily> families(list, static_cast<size_t>(count));
  double total = 0;
  for (const RowFamily& x : families) total += x.cost;
  for (RowFamily& x : families) x.wide = is_wide(x, ctx.threads.size(), total);
  std::ranges::sort(families, std::greater(), [](const RowFamily& x) { return std::pair(x.wide, x.cost); });
  return families;
}

void backward(Context& ctx, const Backward& job, int64_t S) {
  std::span<const RowFamily> families = make_families(ctx, job, S);
  const auto floats = [&job](const RowFamily& x, int64_t sharing) {
    return padded(BackwardTask::scratch_floats(job.size, x.keys, block_tiles(job.size, x, sharing)));
  };
  const int64_t all = ctx.threads.size();
  while (!families.empty() && families.front().wide) {
    const ArenaScope one(ctx.arena);
    float* scratch = ctx.arena.array<float>(floats(families.front(), all));
    backward_family(ctx.threads, job, families.front(), all, scratch);
    families = families.subspan(1);
  }
  int64_t most = 0;
  for (const RowFamily& x : families) most = std::max(most, floats(x, 1));
  float* scratch = ctx.arena.array<float>(most * all);
  ctx.threads.parallel_for_thread(
      static_cast<int64_t>(families.size()), 1, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t i = begin; i < end; ++i) {
          backward_family(ctx.threads, job, families[static_cast<size_t>(i)], 1, scratch + thread * most);
        }
      });
}

}  // namespace

namespace {

// Keys or values in f32, rounded as the pages hold them. Pages of q8 round when they are written.
const float* for_pages(Context& ctx, const Tensor& x, DType pages) {
  if (x.dtype != DType::f32 || pages != DType::bf16) return as_f32(ctx, x);
  float* copy = ctx.arena.array<float>(x.count());
  if (!ctx.measuring) round_to_bf16(ctx.threads, x.f32(), x.count(), copy);
  return copy;
}

}  // namespace

void attention_forward(Context& ctx, const AttentionForward& call) {
  const KvPages& pages = call.pages;
  const Batch& batch = call.batch;
  const OpScope scope(ctx);
  const F32Output scratch(ctx, call.saved.out ? call.saved.out : call.out);
  Forward f;
  f.size = {call.q.dim(1), pages.G, pages.K, pages.V};
  f.scale = call.scale;
  f.q = as_f32(ctx, call.q);
  f.k = for_pages(ctx, call.k, pages.dtype);
  f.v = for_pages(ctx, call.v, pages.dtype);
  f.out = scratch.data();
  f.maxima = call.saved.maxima;
  f.sums = call.saved.sums;
  f.page_data = pages.data;
  f.pages = pages.dtype;
  f.scales_at = pages.page_numbers();
  f.page_elements = pages.page_elements();
  f.values_in_keys = pages.values_in_keys;
  f.values_at = pages.values_in_keys ? 0 : pages.G * pages.K * kKeyTile;
  f.value_row = pages.values_in_keys ? pages.K : pages.V;
  f.page_table = batch.pages.data();
  f.max_pages = batch.max_pages;
  f.offsets = batch.offsets.data();
  f.positions = batch.positions.data();
  if (!batch.prefixes.empty()) {
    f.prefixes = batch.prefixes.data();
    f.tails = batch.tails.data();
  }
  forward(ctx, f, batch);
  if (call.out.dtype == DType::bf16) narrow(ctx.threads, f.out, call.out.count(), call.out.bf16());
}

void attention_backward(Context& ctx, const AttentionBackward& call) {
  const OpScope scope(ctx);
  Backward job;
  job.size = {call.q.dim(1), call.k.dim(1), call.k.dim(2), call.v.dim(2)};
  job.scale = call.scale;
  job.q = as_f32(ctx, call.q);
  job.k = as_f32(ctx, call.k);
  job.v = as_f32(ctx, call.v);
  job.out = call.saved.out.f32();
  job.d_out = call.d_out.f32();
  job.maxima = call.saved.maxima;
  job.sums = call.saved.sums;
  const auto put = [](const GradSlot& slot, float*& grad, bool& add) {
    if (!slot) return;
    grad = slot.grad.f32();
    add = slot.accumulate;
  };
  put(call.dq, job.dq, job.add_dq);
  put(call.dk, job.dk, job.add_dk);
  put(call.dv, job.dv, job.add_dv);
  job.offsets = call.offsets;
  job.parents = call.parents;
  backward(ctx, job, call.S);
}

}  // namespace r1::cpu
