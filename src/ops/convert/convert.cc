#include "ops/convert/convert.h"

#include "ops/backend.h"
#include "ops/convert/convert_backend.h"

namespace r1 {

const float* as_f32(Context& ctx, const Tensor& t) {
  if (t.dtype != DType::bf16) return t.f32();
  float* wide = ctx.arena.array<float>(t.count());
  R1_BACKEND(ctx, widen_values, (Widen{.from = t.bf16(), .n = t.count(), .to = wide}));
  return wide;
}

Tensor as_f32_tensor(Context& ctx, const Tensor& t) {
  Tensor wide = t;
  wide.data = const_cast<float*>(as_f32(ctx, t));
  wide.dtype = DType::f32;
  return wide;
}

const float* weight_f32(Context& ctx, const Tensor& value) {
  R1_CHECK(value, "a frozen weight ", value.shape.str(), " has no rows: its Weight has them");
  if (value.dtype == DType::bf16 || ctx.activations() == DType::f32) return as_f32(ctx, value);
  float* rounded = ctx.arena.array<float>(value.count());
  R1_BACKEND(ctx, round_values, (RoundToBf16{.from = value.f32(), .n = value.count(), .to = rounded}));
  return rounded;
}

void narrow_into(Context& ctx, const float* from, int64_t n, uint16_t* to) {
  R1_BACKEND(ctx, narrow_values, (Narrow{.from = from, .n = n, .to = to}));
}

F32Output::F32Output(Context& ctx, const Tensor& y)
    : y_(y), data_(y.dtype == DType::bf16 ? ctx.arena.array<float>(y.count()) : y.f32()) {}

void F32Output::store(Context& ctx) const {
  if (y_.dtype != DType::bf16) return;
  R1_BACKEND(ctx, narrow_values, (Narrow{.from = data_, .n = y_.count(), .to = y_.bf16()}));
}

}  // namespace r1
