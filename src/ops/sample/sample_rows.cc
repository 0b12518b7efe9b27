// ops/sample/sample_rows.cc: the draws of a batch, spread over the threads.
#include <algorithm>

#include "base/error.h"
#include "ops/sample/history.h"
#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1 {
namespace {

Sampled sample_row(const RowToSample& row, float* logits, int64_t V) {
  return row.history == nullptr
             ? sample_token(logits, V, *row.params, row.uniform, row.allowed)
             : sample_token(logits, V, *row.params, *row.history, row.stop_tokens, row.uniform, row.allowed);
}

}  // namespace

void sample_rows(Context& ctx, int64_t V, std::span<const RowToSample> rows, std::span<Sampled> out) {
  R1_CHECK(rows.size() == out.size(), rows.size(), " rows, ", out.size(), " results");
  const ArenaScope scope(ctx.arena);
  const bool copies = std::ranges::any_of(rows, &RowToSample::keep);
  float* const scratch = copies ? ctx.arena.array<float>(V * ctx.threads.size()) : nullptr;
  ctx.threads.parallel_for_thread(std::ssize(rows), 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const RowToSample& row = rows[static_cast<size_t>(i)];
      float* logits = row.logits;
      if (row.keep) logits = std::copy_n(row.logits, V, scratch + thread * V) - V;
      out[static_cast<size_t>(i)] = sample_row(row, logits, V);
    }
  });
}

}  // namespace r1
