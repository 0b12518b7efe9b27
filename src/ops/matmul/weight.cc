#include "ops/matmul/weight.h"

#include "base/integers.h"
#include "ops/backend.h"
#include "ops/convert/convert.h"
#include "ops/matmul/matmul_backend.h"

namespace r1 {
namespace {

// The type of rows in memory: the stored one, unless the model rounds it, or it is wider than f32. On a CUDA
// device it is f32, which products read.
DType held_rows_type(const Context& ctx, const Parameter& dense) {
  if (ctx.device == Device::cuda) return DType::f32;
  if (dense.value.dtype == DType::bf16) return DType::bf16;
  switch (dense.stored.format) {
    case Format::bf16:
      return DType::bf16;
    case Format::f16:
      return DType::f16;
    case Format::f32:
    case Format::f64:
    case Format::f8_e4m3:
      break;
  }
  return DType::f32;
}

}  // namespace

Weight::Weight(Parameter* dense, Parameter* bias, Layout layout)
    : dense_(dense), bias_(bias), layout_(layout) {
  R1_CHECK(dense_ != nullptr);
  const Shape& shape = dense_->value.shape;
  R1_CHECK(shape.rank() == 2, dense_->name, " ", shape.str());
  if (bias_ != nullptr)
    R1_CHECK(bias_->value.shape == Shape({N()}), bias_->name, " ", bias_->value.shape.str());
}

bool Weight::is_fresh(DType activations) const {
  if (held_version_ != dense_->version) return false;
  return layout_ == Layout::rows || held_.tensor().dtype == activations;
}

bool Weight::holds_rows(const Context& ctx) const {
  return layout_ == Layout::rows || ctx.device == Device::cuda;
}

void Weight::prepare(Context& ctx) const {
  const DType dtype = ctx.activations();
  if (holds_rows(ctx) && !dense_->frozen()) return;  // the value is read
  if (is_fresh(dtype)) return;
  R1_CHECK(!inside_parallel_for(), dense_->name, " is packed by one thread of several");
  if (holds_rows(ctx)) {
    held_ = Buffer(dense_->value.shape, held_rows_type(ctx, *dense_), ctx.memory());
    R1_BACKEND(ctx, read_rows, (ReadRows{.dense = dense_, .rows = held_.tensor()}));
  } else {
    const int64_t panels = ceil_div(N(), kPanel);
    const Shape shape =
        dtype == DType::f32 ? Shape{panels, K(), kPanel} : Shape{panels, pair_rows(K()), kPanel, 2};
    const Tensor& held = held_.tensor();
    if (!held || held.shape != shape || held.dtype != dtype) {
      held_ = {};  // before the next one is taken, so that only one is held
      held_ = Buffer(shape, dtype, ctx.memory());
    }
    held_version_ = 0;  // stale until it is filled: filling may throw
    R1_CPU_BACKEND(ctx, pack_weight, (PackWeight{.dense = dense_, .panels = held_.tensor()}));
  }
  held_version_ = dense_->version;
}

void Weight::fill_b(Context& ctx, Gemm& g) const {
  R1_CHECK(layout_ == Layout::panels, dense_->name, " is held as rows: it is no factor");
  prepare(ctx);
  g.product = ctx.row().product;
  g.b = static_cast<const float*>(held_.tensor().data);
  g.b_panel = (ctx.activations() == DType::f32 ? K() : pair_rows(K())) * kPanel;
  g.b_row = kPanel;
}

void Weight::times(Context& ctx, const float* x, int64_t T, float* y) const {
  R1_BACKEND(ctx, times, (WeightProduct{.w = this, .x = x, .T = T, .y = y}));
}

void Weight::times_transposed(Context& ctx, const float* dy, int64_t T, float* dx, bool accumulate) const {
  R1_BACKEND(ctx, times_transposed,
             (WeightTransposed{.w = this, .dy = dy, .T = T, .dx = dx, .accumulate = accumulate}));
}

void Weight::add_weight_gradient(Context& ctx, const float* dy, const float* x, int64_t T) const {
  R1_BACKEND(ctx, add_weight_gradient, (WeightGradient{.w = this, .dy = dy, .x = x, .T = T}));
}

void Weight::dequantise(Context& ctx, int64_t first, int64_t count, float* to) const {
  R1_CHECK(first >= 0 && count >= 0 && first + count <= N(), dense_->name, " rows from ", first, ", ", count);
  const bool frozen = dense_->frozen();
  if (frozen) prepare(ctx);
  R1_BACKEND(ctx, copy_rows,
             (CopyRows{.held = frozen ? held_.tensor() : dense_->value,
                       .K = K(),
                       .packed = frozen && !holds_rows(ctx),
                       .rounding = ctx.activations(),
                       .indices = {},
                       .first = first,
                       .count = count,
                       .to = to}));
}

const float* Weight::rows(Context& ctx) const {
  if (!dense_->frozen()) return weight_f32(ctx, dense_->value);
  if (ctx.device == Device::cuda) {
    prepare(ctx);
    return held_.tensor().f32();
  }
  float* copy = ctx.arena.array<float>(N() * K());
  dequantise(ctx, 0, N(), copy);
  return copy;
}

void Weight::copy_rows(Context& ctx, std::span<const int32_t> rows, float* to) const {
  const bool frozen = dense_->frozen();
  if (frozen) prepare(ctx);
  R1_BACKEND(ctx, copy_rows,
             (CopyRows{.held = frozen ? held_.tensor() : dense_->value,
                       .K = K(),
                       .packed = frozen && !holds_rows(ctx),
                       .rounding = ctx.activations(),
                       .indices = rows,
                       .first = 0,
                       .count = std::ssize(rows),
                       .to = to}));
}

}  // namespace r1
