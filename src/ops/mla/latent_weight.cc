#include "ops/mla/latent_weight.h"

#include <algorithm>
#include <vector>

#include "base/first_error.h"
#include "base/integers.h"
#include "ops/backend.h"
#include "ops/convert/convert.h"

namespace r1 {

LatentWeight::LatentWeight(Parameter* kv_b, int64_t heads, int64_t nope, int64_t value)
    : kv_b_(kv_b), heads_(heads), nope_(nope), value_(value) {
  R1_CHECK(kv_b_ != nullptr);
  const Shape& shape = kv_b_->value.shape;
  R1_CHECK(shape.rank() == 2 && shape[0] == heads * (nope + value), kv_b_->name, " ", shape.str(), " heads ",
           heads, " nope ", nope, " value ", value);
}

bool LatentWeight::renew(Context& ctx, Copy& copy, Shape shape, DType dtype) const {
  if (copy.version == kv_b_->version && copy.activations == ctx.activations()) return false;
  R1_CHECK(!inside_parallel_for(), kv_b_->name, " is packed by one thread of several");
  const Tensor& held = copy.buffer.tensor();
  if (!held || held.shape != shape || held.dtype != dtype) {
    copy.buffer = {};  // before the next one is taken, so that only one is held
    copy.buffer = Buffer(shape, dtype, ctx.memory());
  }
  copy.version = kv_b_->version;
  copy.activations = ctx.activations();
  return true;
}

int64_t LatentWeight::held_bytes() const {
  size_t bytes = 0;
  for (const Copy* copy : {&rows_, &panels_, &bf16_rows_, &keys_, &values_}) bytes += copy->buffer.bytes();
  return static_cast<int64_t>(bytes);
}

void LatentWeight::prepare(Context& ctx) const {
  if (ctx.device == Device::cuda) {
    if (ctx.row().product == Product::tensor_bf16) {
      bf16_rows(ctx);
    } else {
      rows(ctx);
    }
    return;
  }
  if (kv_b_->frozen()) return prepare_frozen(ctx);
  rows(ctx);
  value_panels(ctx);
}

bool LatentWeight::holds_pairs(const Context& ctx) const {
  return ctx.activations() == DType::bf16 || kv_b_->value.dtype == DType::bf16 ||
         kv_b_->stored.format == Format::bf16;
}

void LatentWeight::prepare_frozen(Context& ctx) const {
  const int64_t R = latent(), n = nope_, v = value_, head = (n + v) * R;
  const bool pairs = holds_pairs(ctx);
  const int64_t key_units = pairs ? ceil_div(R, kPanel) * kPanel * pair_rows(n) : n * R;
  const int64_t value_units = pairs ? ceil_div(v, kPanel) * kPanel * pair_rows(R) : value_panel_floats();
  const bool stale = renew(ctx, keys_, {heads_, key_units});  // units of 32 bits of either kind
  if (!renew(ctx, values_, {heads_, value_units}) && !stale) return;
  if (ctx.measuring) return;
  const Buffer wide({ctx.threads.size(), head}, DType::f32),
      narrowed({ctx.threads.size(), head}, DType::bf16);
  FirstError error;
  ctx.threads.parallel_for_thread(heads_, 1, [&](int64_t begin, int64_t end, int thread) {
    float* rows = wide.tensor().f32() + thread * head;
    uint16_t* narrow_rows = narrowed.tensor().bf16() + thread * head;
    error.run([&] {
      for (int64_t h = begin; h < end; ++h) {
        kv_b_->stored.read(h * head, std::span(rows, static_cast<size_t>(head)));
        if (pairs) narrow(rows, head, narrow_rows);
        float* keys = keys_.buffer.tensor().f32() + h * key_units;
        float* values = values_.buffer.tensor().f32() + h * value_units;
        if (pairs) {
          pack_rows_as_pairs(narrow_rows, n, R, reinterpret_cast<uint32_t*>(keys));
          for (int64_t d = 0; d < v; d += kPanel) {
            pack_one_panel(narrow_rows + (n + d) * R, std::min(kPanel, v - d), R,
                           reinterpret_cast<uint32_t*>(values) + d * pair_rows(R));
          }
        } else {
          std::copy_n(rows, n * R, keys);
          for (int64_t d = 0; d < v; d += kPanel)
            pack_one_panel(rows + (n + d) * R, std::min(kPanel, v - d), R, values + d * R);
        }
      }
    });
  });
  if (error.failed()) keys_.version = values_.version = 0;
  error.rethrow();
}

void LatentWeight::fill_key_b(Context& ctx, int64_t head, Gemm& g) const {
  const int64_t R = latent();
  if (!kv_b_->frozen()) {
    g.b = rows(ctx) + head * (nope_ + value_) * R;
    g.b_panel = kPanel;
    g.b_row = R;
    return;
  }
  prepare(ctx);
  const bool pairs = holds_pairs(ctx);
  const Tensor& keys = keys_.buffer.tensor();
  g.product = pairs ? Product::bf16 : Product::f32;
  g.b = keys.f32() + head * keys.dim(1);
  g.b_panel = pairs ? pair_rows(nope_) * kPanel : kPanel;
  g.b_row = pairs ? kPanel : R;
}

void LatentWeight::fill_value_b(Context& ctx, int64_t head, Gemm& g) const {
  g.b_row = kPanel;
  if (!kv_b_->frozen()) {
    g.b = value_panels(ctx) + head * value_panel_floats();
    g.b_panel = latent() * kPanel;
    return;
  }
  prepare(ctx);
  const bool pairs = holds_pairs(ctx);
  const Tensor& values = values_.buffer.tensor();
  g.product = pairs ? Product::bf16 : Product::f32;
  g.b = values.f32() + head * values.dim(1);
  g.b_panel = (pairs ? pair_rows(latent()) : latent()) * kPanel;
}

const float* LatentWeight::rows(Context& ctx) const {
  const Tensor& value = kv_b_->value;
  if (!kv_b_->frozen() && value.dtype == DType::f32 && ctx.activations() == DType::f32) return value.f32();
  if (renew(ctx, rows_, value.shape)) {
    float* to = rows_.buffer.tensor().f32();
    if (kv_b_->frozen() && !ctx.measuring) {
      rows_.version = 0;  // stale until it is filled: reading may throw
      int64_t at = 0;
      std::vector<float> rounded;
      in_f32(ctx.memory(), *kv_b_, [&](std::span<const float> values) {
        if (ctx.activations() == DType::bf16) {
          rounded.resize(values.size());
          round_to_bf16(ctx.threads, values.data(), std::ssize(values), rounded.data());
          values = rounded;
        }
        ctx.memory().write(to + at, values.data(), values.size_bytes());
        at += std::ssize(values);
      });
      rows_.version = kv_b_->version;
    } else if (!kv_b_->frozen()) {
      const OpScope scope(ctx);
      const float* from = weight_f32(ctx, value);
      if (!ctx.measuring)
        ctx.memory().copy(to, from, static_cast<size_t>(value.count()) * sizeof(float), ctx.stream);
    }
  }
  return rows_.buffer.tensor().f32();
}

const uint16_t* LatentWeight::bf16_rows(Context& ctx) const {
  R1_CHECK(ctx.row().product == Product::tensor_bf16, kv_b_->name, " has no rows of bf16");
  const Tensor& value = kv_b_->value;
  if (!kv_b_->frozen() && value.dtype == DType::bf16) return value.bf16();
  if (!renew(ctx, bf16_rows_, value.shape, DType::bf16)) return bf16_rows_.buffer.tensor().bf16();
  const Tensor& to = bf16_rows_.buffer.tensor();
  if (kv_b_->frozen() && !ctx.measuring) {
    bf16_rows_.version = 0;  // stale until it is filled: reading may throw
    int64_t at = 0;
    in_f32(ctx.memory(), *kv_b_, [&](std::span<const float> values) {
      write_values(ctx.memory(), to, at, values);
      at += std::ssize(values);
    });
    bf16_rows_.version = kv_b_->version;
  } else if (!kv_b_->frozen()) {
    narrow_into(ctx, value.f32(), value.count(), to.bf16());
  }
  return to.bf16();
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
