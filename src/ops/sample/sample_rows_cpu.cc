// ops/sample/sample_rows_cpu.cc: the draws of a batch, spread over the threads.
#include <algorithm>

#include "ops/sample/history.h"
#include "ops/sample/sample_backend.h"

namespace r1 {
namespace {

Sampled sample_row(const RowToSample& row, float* logits, int64_t V) {
  return row.history == nullptr ? sample_token(logits, V, *row.params, row.uniform, row.allowed, row.options)
                                : sample_token(logits, V, *row.params, *row.history, row.stop_tokens,
                                               row.uniform, row.allowed, row.options);
}

}  // namespace

void cpu::sample_rows(Context& ctx, const SampleRows& call) {
  const OpScope scope(ctx);
  const bool copies = std::ranges::any_of(call.rows, &RowToSample::keep);
  float* const scratch = copies ? ctx.arena.array<float>(call.V * ctx.threads.size()) : nullptr;
  ctx.threads.parallel_for_thread(std::ssize(call.rows), 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const RowToSample& row = call.rows[static_cast<size_t>(i)];
      float* logits = row.logits.f32();
      if (row.keep) logits = std::copy_n(logits, call.V, scratch + thread * call.V) - call.V;
      call.out[static_cast<size_t>(i)] = sample_row(row, logits, call.V);
    }
  });
}

}  // namespace r1
