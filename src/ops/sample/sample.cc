#include "ops/sample/sample.h"

#include "ops/backend.h"
#include "ops/sample/sample_backend.h"

namespace r1 {

void sample_rows(Context& ctx, int64_t V, std::span<const RowToSample> rows, std::span<Sampled> out) {
  R1_CHECK(rows.size() == out.size(), rows.size(), " rows, ", out.size(), " results");
  for (const RowToSample& row : rows) R1_CHECK(row.logits.count() == V, row.logits.shape.str(), ", V ", V);
  R1_BACKEND(ctx, sample_rows, (SampleRows{.V = V, .rows = rows, .out = out}));
}

void sample_rows_into(Context& ctx, int64_t V, std::span<const RowToSample> rows, const Tensor& drawn) {
  static_assert(sizeof(Sampled) == 2 * sizeof(int32_t));
  R1_CHECK(ctx.device != Device::cpu && drawn.count() >= 2 * std::ssize(rows), rows.size(), " draws into ",
           drawn.shape.str());
  for (const RowToSample& row : rows)
    R1_CHECK(row.options.forced < 0 && row.options.likeliest.empty(), "a draw with options needs the host");
  R1_BACKEND(ctx, sample_rows,
             (SampleRows{.V = V, .rows = rows, .out = {}, .drawn = reinterpret_cast<Sampled*>(drawn.i32())}));
}

void feed_tokens(Context& ctx, const Tensor& drawn, std::span<const int32_t> from, const Tensor& tokens) {
  R1_CHECK(tokens.count() >= std::ssize(from), from.size(), " tokens for ", tokens.shape.str());
  for (const int32_t i : from)
    R1_CHECK(i >= -1 && 2 * i + 1 < drawn.count(), "draw ", i, " of ", drawn.shape.str());
  R1_BACKEND(
      ctx, feed_tokens,
      (FeedTokens{
          .drawn = reinterpret_cast<const Sampled*>(drawn.i32()), .from = from, .tokens = tokens.i32()}));
}

}  // namespace r1
