#include "ops/matmul/weight.h"

#include <vector>

#include "base/integers.h"
#include "ops/backend.h"
#include "ops/convert/convert.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/matmul/quant_tiles.h"

namespace r1 {
namespace {

// The type of rows in memory: the stored one, unless the model rounds it, or it is wider than f32. On a CUDA
// device it is the type that products read.
DType held_rows_type(const Context& ctx, const Parameter& dense) {
  if (ctx.device == Device::cuda) return ctx.activations();
  if (dense.value.dtype == DType::bf16) return DType::bf16;
  switch (dense.stored.format) {
    case Format::bf16:
      return DType::bf16;
    case Format::f16:
      return DType::f16;
    default:
      return DType::f32;
  }
}

// A table of blocks is looked up block by block.
bool rows_are_blocks(const Context& ctx, const Parameter& dense) {
  return ctx.device == Device::cpu && is_blocks(dense.stored.format);
}

// True if the matrix is kept in tiles.
bool is_in_tiles(const Context& ctx, const Parameter& dense) {
  return ctx.device == Device::cuda && ctx.activations() == DType::bf16 && dense.frozen() &&
         r1::has_tiles(dense.stored.format, dense.value.dim(1));
}

// The narrowest type that holds a matrix's numbers as they are: if it is frozen, bf16 or f16 where they are stored
// so. Pairs of it are widened to the same numbers, in half the memory of panels of f32.
DType narrow_type(const Parameter& dense) {
  if (!dense.frozen()) return DType::f32;
  if (dense.value.dtype == DType::bf16 || dense.stored.format == Format::bf16) return DType::bf16;
  return dense.stored.format == Format::f16 ? DType::f16 : DType::f32;
}

Shape words_of(int64_t bytes) {
  return {ceil_div(bytes, int64_t{4})};
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

bool Weight::holds_rows(const Context& ctx) const {
  return layout_ == Layout::rows || ctx.device == Device::cuda;
}

bool Weight::has_blocks(const Context& ctx) const {
  return has_tiles(ctx) || has_panels_of_blocks(ctx);
}

bool Weight::has_panels_of_blocks(const Context& ctx) const {
  return !holds_rows(ctx) && ctx.row().product == Product::q8act && dense_->frozen() &&
         is_blocks(dense_->stored.format);
}

Weight::Form Weight::form(const Context& ctx) const {
  if (is_in_tiles(ctx, *dense_)) return Form::tiles;
  if (holds_rows(ctx))
    return ctx.device == Device::cuda && ctx.activations() == DType::bf16 ? Form::bf16_rows : Form::rows;
  if (has_panels_of_blocks(ctx)) return Form::blocks;
  if (ctx.activations() == DType::bf16) return Form::pairs;
  return narrow_type(*dense_) == DType::f32 ? Form::panels : Form::pairs;
}

// A trained matrix whose value is what is read: by look-ups, or by products in its type.
bool Weight::value_is_read(const Context& ctx) const {
  if (!holds_rows(ctx) || dense_->frozen()) return false;
  return layout_ == Layout::rows || form(ctx) == Form::rows || dense_->value.dtype == DType::bf16;
}

bool Weight::is_ready(const Context& ctx) const {
  if (value_is_read(ctx)) return true;
  const Form wanted = form(ctx);
  const DType pairs = ctx.activations() == DType::bf16 ? DType::bf16 : narrow_type(*dense_);
  return held_version_ == dense_->version && held_form_ == wanted &&
         (wanted != Form::pairs || held_.tensor().dtype == pairs);
}

// The copy is stale until it is filled: filling may throw.
void Weight::take(Context& ctx, const Shape& shape, DType dtype) const {
  const Tensor& held = held_.tensor();
  if (!held || held.shape != shape || held.dtype != dtype) {
    held_ = {};  // before the next one is taken, so that only one is held
    held_ = Buffer(shape, dtype, ctx.memory());
  }
  held_version_ = 0;
}

Tensor Weight::room_for_rows(Context& ctx) const {
  const Format format = dense_->stored.format;
  if (form(ctx) == Form::tiles) {
    take(ctx, words_of(tiled_matrix_bytes(format, N(), K())), DType::i32);
  } else if (rows_are_blocks(ctx, *dense_)) {
    take(ctx, words_of(bytes_of(format, N() * K())), DType::i32);
  } else {
    take(ctx, dense_->value.shape, held_rows_type(ctx, *dense_));
  }
  return held_.tensor();
}

void Weight::fill_panels(Context& ctx) const {
  const Form wanted = form(ctx);
  if (wanted == Form::blocks) {
    take(ctx, words_of(quant_bytes(dense_->stored.format, N(), K())), DType::i32);
    R1_CPU_BACKEND(ctx, pack_weight, (PackWeight{.dense = dense_, .panels = held_.tensor(), .blocks = true}));
    return;
  }
  const int64_t panels = ceil_div(N(), kPanel);
  if (wanted == Form::panels) {
    take(ctx, {panels, K(), kPanel}, DType::f32);
  } else {
    take(ctx, {panels, pair_rows(K()), kPanel, 2},
         ctx.activations() == DType::bf16 ? DType::bf16 : narrow_type(*dense_));
  }
  R1_CPU_BACKEND(ctx, pack_weight, (PackWeight{.dense = dense_, .panels = held_.tensor()}));
}

void Weight::prepare(Context& ctx) const {
  if (is_ready(ctx)) return;
  const Weight* const self = this;
  prepare_all(ctx, std::span(&self, 1));
}

void Weight::prepare_all(Context& ctx, std::span<const Weight* const> weights) {
  std::vector<const Weight*> filled;
  std::vector<ReadRows> rows;
  for (const Weight* w : weights) {
    if (w->is_ready(ctx)) continue;
    R1_CHECK(!inside_parallel_for(), w->dense_->name, " is packed by one thread of several");
    filled.push_back(w);
    const Form wanted = w->form(ctx);
    if (wanted == Form::rows || wanted == Form::bf16_rows || wanted == Form::tiles) {
      rows.push_back({.dense = w->dense_, .rows = w->room_for_rows(ctx)});
    } else {
      w->fill_panels(ctx);
    }
  }
  if (!rows.empty()) R1_BACKEND(ctx, read_rows, rows);
  for (const Weight* w : filled) {
    w->held_form_ = w->form(ctx);
    w->held_version_ = w->dense_->version;
  }
}

QuantMatrix Weight::blocks(Context& ctx) const {
  R1_CHECK(has_panels_of_blocks(ctx), dense_->name, " has no blocks");
  prepare(ctx);
  return {.format = dense_->stored.format,
          .N = N(),
          .K = K(),
          .panels = static_cast<const std::byte*>(held_.tensor().data)};
}

void Weight::fill_b(Context& ctx, Gemm& g) const {
  R1_CHECK(layout_ == Layout::panels && !has_blocks(ctx), dense_->name, " has no panels of numbers");
  prepare(ctx);
  const bool pairs = held_form_ == Form::pairs;
  g.product = ctx.activations() == DType::bf16 ? ctx.row().product : pairs ? Product::bf16 : Product::f32;
  g.f16_pairs = held_.tensor().dtype == DType::f16;
  g.b = static_cast<const float*>(held_.tensor().data);
  g.b_panel = (pairs ? pair_rows(K()) : K()) * kPanel;
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

void Weight::copy(Context& ctx, std::span<const int32_t> indices, int64_t first, int64_t count,
                  float* to) const {
  const bool frozen = dense_->frozen();
  if (frozen) prepare(ctx);
  const bool packed = frozen && !holds_rows(ctx);
  const bool blocks = packed                      ? has_blocks(ctx)
                      : is_in_tiles(ctx, *dense_) ? true
                                                  : frozen && rows_are_blocks(ctx, *dense_);
  const bool narrow = ctx.activations() == DType::bf16 || (blocks && dense_->value.dtype == DType::bf16);
  R1_BACKEND(ctx, copy_rows,
             (CopyRows{.held = frozen ? held_.tensor() : dense_->value,
                       .N = N(),
                       .K = K(),
                       .packed = packed,
                       .blocks = blocks ? &dense_->stored.format : nullptr,
                       .rounding = narrow ? DType::bf16 : DType::f32,
                       .indices = indices,
                       .first = first,
                       .count = count,
                       .to = to}));
}

void Weight::dequantise(Context& ctx, int64_t first, int64_t count, float* to) const {
  R1_CHECK(first >= 0 && count >= 0 && first + count <= N(), dense_->name, " rows from ", first, ", ", count);
  copy(ctx, {}, first, count, to);
}

const float* Weight::rows(Context& ctx) const {
  if (!dense_->frozen()) return weight_f32(ctx, dense_->value);
  if (ctx.device == Device::cuda && !is_in_tiles(ctx, *dense_)) {
    prepare(ctx);
    return as_f32(ctx, held_.tensor());
  }
  float* copy = ctx.arena.array<float>(N() * K());
  dequantise(ctx, 0, N(), copy);
  return copy;
}

const uint16_t* Weight::bf16_rows(Context& ctx) const {
  const bool in_tiles = form(ctx) == Form::tiles;
  R1_CHECK((in_tiles || form(ctx) == Form::bf16_rows) && layout_ == Layout::panels, dense_->name,
           " has no rows of bf16");
  prepare(ctx);
  if (!in_tiles) return value_is_read(ctx) ? dense_->value.bf16() : held_.tensor().bf16();
  auto* rows = ctx.arena.array<uint16_t>(N() * K());
  R1_BACKEND(ctx, copy_rows,
             (CopyRows{.held = held_.tensor(),
                       .N = N(),
                       .K = K(),
                       .blocks = &dense_->stored.format,
                       .rounding = DType::bf16,
                       .indices = {},
                       .count = N(),
                       .bits = rows}));
  return rows;
}

bool Weight::has_tiles(const Context& ctx) const {
  return form(ctx) == Form::tiles;
}

const std::byte* Weight::tiles(Context& ctx) const {
  R1_CHECK(has_tiles(ctx), dense_->name, " has no tiles");
  prepare(ctx);
  return static_cast<const std::byte*>(held_.tensor().data);
}

void Weight::copy_rows(Context& ctx, std::span<const int32_t> rows, float* to) const {
  copy(ctx, rows, 0, std::ssize(rows), to);
}

}  // namespace r1
