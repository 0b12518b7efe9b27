// ops/mla/latent_weight.cc: LatentWeight and its two copies.
#include <algorithm>

#include "ops/convert/convert.h"
#include "ops/matmul/gemm.h"
#include "ops/mla/mla.h"

namespace r1 {

LatentWeight::LatentWeight(Parameter* kv_b, int64_t heads, int64_t nope, int64_t value)
    : kv_b_(kv_b), heads_(heads), nope_(nope), value_(value) {
  R1_CHECK(kv_b_ != nullptr);
  const Shape& shape = kv_b_->value.shape;
  R1_CHECK(shape.rank() == 2 && shape[0] == heads * (nope + value), kv_b_->name, " ", shape.str(), " heads ",
           heads, " nope ", nope, " value ", value);
}

bool LatentWeight::renew(const Context& ctx, Copy& copy, Shape shape) const {
  const DType activations = ctx.activations();
  if (copy.version == kv_b_->version && copy.activations == activations) return false;
  R1_CHECK(!inside_parallel_for(), kv_b_->name, " is packed by one thread of several");
  if (!copy.buffer.tensor()) copy.buffer = Buffer(shape, DType::f32, ctx.memory());
  copy.version = kv_b_->version;
  copy.activations = activations;
  return true;
}

void LatentWeight::pack(Context& ctx) const {
  rows(ctx);
  value_panels(ctx);
}

const float* LatentWeight::rows(Context& ctx) const {
  const Tensor& value = kv_b_->value;
  if (value.dtype == DType::f32 && ctx.activations() == DType::f32) return value.f32();
  if (renew(ctx, rows_, value.shape)) {
    const OpScope scope(ctx);
    const float* from = weight_f32(ctx, value);
    if (!ctx.measuring) std::copy_n(from, value.count(), rows_.buffer.tensor().f32());
  }
  return rows_.buffer.tensor().f32();
}

const float* LatentWeight::value_panels(Context& ctx) const {
  if (renew(ctx, panels_, {heads_, value_panel_floats()})) {
    const int64_t R = latent();
    const float* kv_b = rows(ctx);
    float* to = panels_.buffer.tensor().f32();
    ctx.threads.parallel_for(heads_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t h = begin; h < end; ++h) {
        const float* w_uv = kv_b + (h * (nope_ + value_) + nope_) * R;
        pack_transposed(ctx.threads, w_uv, value_, R, R, to + h * value_panel_floats());
      }
    });
  }
  return panels_.buffer.tensor().f32();
}

}  // namespace r1
