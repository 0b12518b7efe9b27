#include "ops/sample/sample.h"

#include "ops/backend.h"
#include "ops/sample/sample_backend.h"

namespace r1 {

void sample_rows(Context& ctx, int64_t V, std::span<const RowToSample> rows, std::span<Sampled> out) {
  R1_CHECK(rows.size() == out.size(), rows.size(), " rows, ", out.size(), " results");
  for (const RowToSample& row : rows) R1_CHECK(row.logits.count() == V, row.logits.shape.str(), ", V ", V);
  R1_BACKEND(ctx, sample_rows, (SampleRows{.V = V, .rows = rows, .out = out}));
}

}  // namespace r1
