// ops/mla/mla_cpu.cc: each product is a batch of gemms, one per head, on views with the heads' strides.
#include <algorithm>

#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/gemm.h"
#include "ops/mla/mla.h"
#include "ops/simd/grain.h"

namespace r1 {

namespace {

constexpr int64_t kPanel = 32;

// Runs make(h) for every head as one batch.
template <class Make>
void for_heads(Context& ctx, int64_t H, const Make& make) {
  const ArenaScope scope(ctx.arena);
  Gemm* list = ctx.arena.array<Gemm>(H);
  for (int64_t h = 0; h < H; ++h) list[h] = make(h);
  gemm_batch(ctx.threads, {list, static_cast<size_t>(H)});
}

void absorb_query_backward(Context& ctx, const Tensor& q, const Tensor& out, const LatentWeight& w,
                           const Rotary& rotary) {
  const Tensor dout = ctx.tape->grad(out);
  if (!dout) return;
  const int64_t T = q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = q.dim(2) - n;
  const int64_t q_row = n + P, out_row = R + P, head = (n + w.value()) * R;
  const GradSlot dq = ctx.tape->slot(q);  // before the scope, because the gradient outlives it
  const ArenaScope all(ctx.arena);
  const float* kv_b = w.rows(ctx);
  if (dq) {
    // dq[t, h, d] = sum over r of dout[t, h, r] * W_uk[h, d, r]: W_uk transposed, in panels of 32 over d.
    const ArenaScope scope(ctx.arena);
    const int64_t panels = panels_floats(n, R);
    float* packed = ctx.arena.array<float>(H * panels);
    ctx.threads.parallel_for(H, 1, [&](int64_t begin, int64_t end) {
      for (int64_t h = begin; h < end; ++h)
        pack_transposed(ctx.threads, kv_b + h * head, n, R, R, packed + h * panels);
    });
    for_heads(ctx, H, [&](int64_t h) {
      return Gemm{.M = T,
                  .N = n,
                  .K = R,
                  .a = dout.f32() + h * out_row,
                  .a_row = H * out_row,
                  .b = packed + h * panels,
                  .b_panel = R * kPanel,
                  .b_row = kPanel,
                  .c = dq.grad.f32() + h * q_row,
                  .c_row = H * q_row,
                  .accumulate = dq.accumulate};
    });
    rope_heads(ctx.threads, rotary,
               {.x = dout.f32() + R,
                .x_head = out_row,
                .y = dq.grad.f32() + n,
                .y_head = q_row,
                .H = H,
                .back = true,
                .add = dq.accumulate});
  }
  if (!w.kv_b().grad) return;
  ctx.tape->await_turn();
  const float* queries = as_f32(ctx, q);
  for_heads(ctx, H, [&](int64_t h) {
    return Gemm{.M = n,
                .N = R,
                .K = T,
                .a = queries + h * q_row,
                .a_row = 1,
                .a_col = H * q_row,
                .b = dout.f32() + h * out_row,
                .b_panel = kPanel,
                .b_row = H * out_row,
                .c = w.kv_b().grad.f32() + h * head,
                .c_row = R,
                .accumulate = true};
  });
}

void expand_value_backward(Context& ctx, const Tensor& o, const Tensor& out, const LatentWeight& w) {
  const Tensor dout = ctx.tape->grad(out);
  if (!dout) return;
  const int64_t T = o.dim(0), H = w.heads(), n = w.nope(), v = w.value(), R = w.latent();
  const int64_t head = (n + v) * R;
  const GradSlot d_o = ctx.tape->slot(o);
  const ArenaScope all(ctx.arena);
  if (d_o) {
    const float* kv_b = w.rows(ctx);
    for_heads(ctx, H, [&](int64_t h) {
      return Gemm{.M = T,
                  .N = R,
                  .K = v,
                  .a = dout.f32() + h * v,
                  .a_row = H * v,
                  .b = kv_b + h * head + n * R,
                  .b_panel = kPanel,
                  .b_row = R,
                  .c = d_o.grad.f32() + h * R,
                  .c_row = H * R,
                  .accumulate = d_o.accumulate};
    });
  }
  if (!w.kv_b().grad) return;
  ctx.tape->await_turn();
  const float* outputs = as_f32(ctx, o);
  for_heads(ctx, H, [&](int64_t h) {
    return Gemm{.M = v,
                .N = R,
                .K = T,
                .a = dout.f32() + h * v,
                .a_row = 1,
                .a_col = H * v,
                .b = outputs + h * R,
                .b_panel = kPanel,
                .b_row = H * R,
                .c = w.kv_b().grad.f32() + h * head + n * R,
                .c_row = R,
                .accumulate = true};
  });
}

// c and the rotary columns of compressed get the gradient of their part of the key. The other columns of
// compressed become zeros if it has no gradient yet.
void latent_key_backward(Context& ctx, const Tensor& c, const Tensor& compressed, const Tensor& key,
                         const Rotary& rotary) {
  const Tensor dkey = ctx.tape->grad(key);
  if (!dkey) return;
  const int64_t T = c.dim(0), R = c.dim(1), row = compressed.dim(1);
  if (const GradSlot s = ctx.tape->slot(compressed)) {
    float* to = s.grad.f32();
    if (!s.accumulate) {
      ctx.threads.parallel_for(T, row_grain(R), [=](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) std::fill_n(to + t * row, R, 0.0f);
      });
    }
    rope_heads(
        ctx.threads, rotary,
        {.x = dkey.f32() + R, .x_head = row, .y = to + R, .y_head = row, .back = true, .add = s.accumulate});
  }
  if (const GradSlot s = ctx.tape->slot(c)) {
    const Columns columns{
        .from = dkey.f32(), .from_width = row, .to = s.grad.f32(), .to_width = R, .count = R};
    if (s.accumulate) {
      add_columns(ctx.threads, T, columns);
    } else {
      copy_columns(ctx.threads, T, columns);
    }
  }
}

}  // namespace

LatentWeight::LatentWeight(Parameter* kv_b, int64_t heads, int64_t nope, int64_t value)
    : kv_b_(kv_b), heads_(heads), nope_(nope), value_(value) {
  R1_CHECK(kv_b_ != nullptr);
  const Shape& shape = kv_b_->value.shape;
  R1_CHECK(shape.rank() == 2 && shape[0] == heads * (nope + value), kv_b_->name, " ", shape.str(), " heads ",
           heads, " nope ", nope, " value ", value);
}

bool LatentWeight::renew(Copy& copy, DType activations, Shape shape) const {
  if (copy.version == kv_b_->version && copy.activations == activations) return false;
  R1_CHECK(!inside_parallel_for(), kv_b_->name, " is packed by one thread of several");
  if (!copy.buffer.tensor()) copy.buffer = Buffer(shape, DType::f32);
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
  if (renew(rows_, ctx.activations(), value.shape)) {
    const ArenaScope scope(ctx.arena);
    std::copy_n(weight_f32(ctx, value), value.count(), rows_.buffer.tensor().f32());
  }
  return rows_.buffer.tensor().f32();
}

const float* LatentWeight::value_panels(Context& ctx) const {
  if (renew(panels_, ctx.activations(), {heads_, value_panel_floats()})) {
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

Tensor absorb_query(Context& ctx, const Tensor& q, const LatentWeight& w, const Rotary& rotary) {
  const int64_t H = w.heads(), n = w.nope(), R = w.latent();
  R1_CHECK(q.shape.rank() == 3 && q.dim(1) == H && q.dim(2) >= n, w.kv_b().name, " q ", q.shape.str(),
           " heads ", H, " nope ", n);
  const int64_t T = q.dim(0), P = q.dim(2) - n;
  R1_CHECK(rotary.width() == P && std::ssize(rotary.positions) == T, w.kv_b().name, " q ", q.shape.str(),
           " rotary width ", rotary.width(), ", ", rotary.positions.size(), " positions");
  Tensor out = ctx.output({T, H, R + P}, ctx.activations());
  {
    const ArenaScope scope(ctx.arena);
    const F32Output values(ctx, out);
    const float* queries = as_f32(ctx, q);
    const float* kv_b = w.rows(ctx);
    for_heads(ctx, H, [&](int64_t h) {
      return Gemm{.M = T,
                  .N = R,
                  .K = n,
                  .a = queries + h * (n + P),
                  .a_row = H * (n + P),
                  .b = kv_b + h * (n + w.value()) * R,
                  .b_panel = kPanel,
                  .b_row = R,
                  .c = values.data() + h * (R + P),
                  .c_row = H * (R + P)};
    });
    rope_heads(ctx.threads, rotary,
               {.x = queries + n, .x_head = n + P, .y = values.data() + R, .y_head = R + P, .H = H});
    values.store(ctx);
  }
  if (ctx.tape != nullptr) {
    const LatentWeight* weight = &w;
    ctx.tape->record([=](Context& c) { absorb_query_backward(c, q, out, *weight, rotary); });
  }
  return out;
}

Tensor latent_key(Context& ctx, const Tensor& c, const Tensor& compressed, const Rotary& rotary) {
  const int64_t T = c.dim(0), R = c.dim(1), P = rotary.width();
  R1_CHECK(compressed.shape == Shape({T, R + P}) && std::ssize(rotary.positions) == T, "key of ",
           c.shape.str(), " and ", compressed.shape.str(), ", rotary width ", P, ", ",
           rotary.positions.size(), " positions");
  const Tensor key = ctx.output({T, R + P}, ctx.activations());
  {
    const ArenaScope scope(ctx.arena);
    const F32Output values(ctx, key);
    copy_columns(
        ctx.threads, T,
        {.from = as_f32(ctx, c), .from_width = R, .to = values.data(), .to_width = R + P, .count = R});
    rope_heads(ctx.threads, rotary,
               {.x = as_f32(ctx, compressed) + R, .x_head = R + P, .y = values.data() + R, .y_head = R + P});
    values.store(ctx);
  }
  if (ctx.tape != nullptr) {
    ctx.tape->record([=](Context& b) { latent_key_backward(b, c, compressed, key, rotary); });
  }
  return key;
}

Tensor expand_value(Context& ctx, const Tensor& o, const LatentWeight& w) {
  const int64_t H = w.heads(), v = w.value(), R = w.latent();
  R1_CHECK(o.shape.rank() == 3 && o.dim(1) == H && o.dim(2) == R, w.kv_b().name, " o ", o.shape.str(),
           " heads ", H, " latent ", R);
  const int64_t T = o.dim(0);
  Tensor out = ctx.output({T, H, v}, ctx.activations());
  {
    const ArenaScope scope(ctx.arena);
    const F32Output values(ctx, out);
    const float* latents = as_f32(ctx, o);
    const float* panels = w.value_panels(ctx);
    for_heads(ctx, H, [&](int64_t h) {
      return Gemm{.M = T,
                  .N = v,
                  .K = R,
                  .a = latents + h * R,
                  .a_row = H * R,
                  .b = panels + h * w.value_panel_floats(),
                  .b_panel = R * kPanel,
                  .b_row = kPanel,
                  .c = values.data() + h * v,
                  .c_row = H * v};
    });
    values.store(ctx);
  }
  if (ctx.tape != nullptr) {
    const LatentWeight* weight = &w;
    ctx.tape->record([=](Context& c) { expand_value_backward(c, o, out, *weight); });
  }
  return out;
}

}  // namespace r1
