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

// dx += columns [first, first + N) of the gradient of y, for y with x [T, N] at these columns.
void pass_columns(Context& ctx, const Tensor& y, const Tensor& x, int64_t first) {
  const Tensor dy = ctx.tape->grad(y);
  if (!dy) return;
  const GradSlot dx = ctx.tape->slot(x);
  if (!dx) return;
  if (!dx.accumulate) {
    R1_BACKEND(ctx, slice_forward, (SliceColumns{.x = dy, .y = dx.grad, .first = first}));
    return;
  }
  const OpScope scope(ctx);
  const Tensor part = ctx.arena.tensor(x.shape, DType::f32);
  R1_BACKEND(ctx, slice_forward, (SliceColumns{.x = dy, .y = part, .first = first}));
  R1_BACKEND(ctx, add_values, (Add{.a = dx.grad, .b = part, .y = dx.grad}));
}

}  // namespace

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  R1_CHECK(a.shape == b.shape, "add ", a.shape.str(), " and ", b.shape.str());
  const Tensor y = ctx.output(a.shape);
  R1_BACKEND(ctx, add_values, (Add{.a = a, .b = b, .y = y}));
  if (ctx.tape != nullptr) record_sum(ctx, a, b, y);
  return y;
}

void record_sum(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& y) {
  R1_CHECK(a.shape == b.shape && a.shape == y.shape, "a sum ", y.shape.str(), " of ", a.shape.str(), " and ",
           b.shape.str());
  ctx.tape->read_as(y, b);
  ctx.tape->record([a, b, y](Context& c) {
    pass_on(c, y, a);
    pass_on(c, y, b);
  });
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

Tensor join_columns(Context& ctx, const Tensor& a, const Tensor& b) {
  R1_CHECK(a.rows() == b.rows() && a.dtype == b.dtype, "columns of ", a.shape.str(), " and ", b.shape.str());
  const int64_t M = a.dim(-1);
  const Tensor y = ctx.output({a.rows(), M + b.dim(-1)}, a.dtype);
  R1_BACKEND(ctx, place_columns, (PlaceColumns{.x = a, .y = y, .first = 0}));
  R1_BACKEND(ctx, place_columns, (PlaceColumns{.x = b, .y = y, .first = M}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([a, b, y, M](Context& c) {
      pass_columns(c, y, a, 0);
      pass_columns(c, y, b, M);
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
