#include "ops/elementwise/elementwise.h"

#include "ops/backend.h"
#include "ops/elementwise/elementwise_backend.h"

namespace r1 {
namespace {

// dx += dy, for y = x + ...
void pass_on(Context& ctx, const Tensor& y, const Tensor& x) {
  if (ctx.tape->share(y, x)) return;
  const Tensor dx = ctx.tape->slot(x).grad;
  R1_BACKEND(ctx, add_values, (Add{.a = dx, .b = ctx.tape->grad(y), .y = dx}));
}

}  // namespace

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  R1_CHECK(a.shape == b.shape, "add ", a.shape.str(), " and ", b.shape.str());
  const Tensor y = ctx.output(a.shape);
  R1_BACKEND(ctx, add_values, (Add{.a = a, .b = b, .y = y}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([a, b, y](Context& c) {
      pass_on(c, y, a);
      pass_on(c, y, b);
    });
  }
  return y;
}

void add_in_place(Context& ctx, const Tensor& x, const Tensor& term) {
  R1_CHECK(x.count() == term.count(), "add ", term.shape.str(), " to ", x.shape.str());
  R1_CHECK(x.node < 0 && term.node < 0, "a sum in place has no backward");
  R1_BACKEND(ctx, add_values, (Add{.a = x, .b = term, .y = x}));
}

Tensor slice_columns(Context& ctx, const Tensor& x, int64_t begin, int64_t end) {
  const int64_t N = x.dim(-1);
  R1_CHECK(0 <= begin && begin <= end && end <= N, "columns [", begin, ", ", end, ") of ", x.shape.str());
  const Tensor y = ctx.output({x.rows(), end - begin}, x.dtype);
  R1_BACKEND(ctx, slice_forward, (SliceColumns{.x = x, .y = y, .first = begin}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([x, y, begin](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const GradSlot dx = c.tape->slot(x);
      if (!dx) return;
      R1_BACKEND(c, slice_backward, (SliceBackward{.dy = dy, .dx = dx, .first = begin}));
    });
  }
  return y;
}

Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int32_t> indices) {
  const int64_t T = x.rows();
  for (const int32_t i : indices) R1_CHECK(i >= 0 && i < T, "row ", i, " of ", x.shape.str());
  R1_CHECK(ctx.tape == nullptr, "gathered rows have no backward");
  const Tensor y = ctx.output({static_cast<int64_t>(indices.size()), x.dim(-1)}, x.dtype);
  R1_BACKEND(ctx, gather_forward, (GatherRows{.x = x, .y = y, .indices = indices}));
  return y;
}

}  // namespace r1
