// ops/mla/mla_cpu.cc: the steps around latent attention on the CPU. Each product is a batch of gemms, one per
// head, on views with the heads' strides.
#include <algorithm>

#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/gemm.h"
#include "ops/mla/mla_backend.h"
#include "ops/simd/grain.h"

namespace r1::cpu {
namespace {

// Runs make(h) for every head as one batch.
template <class Make>
void for_heads(Context& ctx, int64_t H, const Make& make) {
  const OpScope scope(ctx);
  Gemm* list = ctx.host().array<Gemm>(H);
  for (int64_t h = 0; h < H; ++h) list[h] = make(h);
  gemm_batch(ctx.threads, {list, static_cast<size_t>(H)});
}

}  // namespace

void absorb_query_backward(Context& ctx, const AbsorbQueryBackward& call) {
  const Tensor &q = call.q, &dout = call.dout;
  const LatentWeight& w = *call.w;
  const GradSlot& dq = call.dq;
  const int64_t T = q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = q.dim(2) - n;
  const int64_t q_row = n + P, out_row = R + P, head = (n + w.value()) * R;
  const OpScope all(ctx);
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
    rope_heads(ctx.threads, call.rotary,
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

void expand_value_backward(Context& ctx, const ExpandValueBackward& call) {
  const Tensor &o = call.o, &dout = call.dout;
  const LatentWeight& w = *call.w;
  const GradSlot& d_o = call.d_o;
  const int64_t T = o.dim(0), H = w.heads(), n = w.nope(), v = w.value(), R = w.latent();
  const int64_t head = (n + v) * R;
  const OpScope all(ctx);
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

void latent_key_backward(Context& ctx, const LatentKeyBackward& call) {
  const Tensor& dkey = call.dkey;
  const int64_t T = dkey.dim(0), row = dkey.dim(1), R = row - call.rotary.width();
  if (const GradSlot& s = call.dcompressed) {
    float* to = s.grad.f32();
    if (!s.accumulate) {
      ctx.threads.parallel_for(T, row_grain(R), [=](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) std::fill_n(to + t * row, R, 0.0f);
      });
    }
    rope_heads(
        ctx.threads, call.rotary,
        {.x = dkey.f32() + R, .x_head = row, .y = to + R, .y_head = row, .back = true, .add = s.accumulate});
  }
  if (const GradSlot& s = call.dc) {
    const Columns columns{
        .from = dkey.f32(), .from_width = row, .to = s.grad.f32(), .to_width = R, .count = R};
    if (s.accumulate) {
      add_columns(ctx.threads, T, columns);
    } else {
      copy_columns(ctx.threads, T, columns);
    }
  }
}

void absorb_query(Context& ctx, const AbsorbQuery& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = call.q.dim(2) - n;
  const OpScope scope(ctx);
  const F32Output values(ctx, call.out);
  const float* queries = as_f32(ctx, call.q);
  for_heads(ctx, H, [&](int64_t h) {
    Gemm g{.M = T,
           .N = R,
           .K = n,
           .a = queries + h * (n + P),
           .a_row = H * (n + P),
           .c = values.data() + h * (R + P),
           .c_row = H * (R + P)};
    w.fill_key_b(ctx, h, g);
    return g;
  });
  rope_heads(ctx.threads, call.rotary,
             {.x = queries + n, .x_head = n + P, .y = values.data() + R, .y_head = R + P, .H = H});
  values.store(ctx);
}

void latent_key(Context& ctx, const LatentKey& call) {
  const int64_t T = call.c.dim(0), R = call.c.dim(1), P = call.rotary.width();
  const OpScope scope(ctx);
  const F32Output values(ctx, call.key);
  copy_columns(
      ctx.threads, T,
      {.from = as_f32(ctx, call.c), .from_width = R, .to = values.data(), .to_width = R + P, .count = R});
  rope_heads(
      ctx.threads, call.rotary,
      {.x = as_f32(ctx, call.compressed) + R, .x_head = R + P, .y = values.data() + R, .y_head = R + P});
  values.store(ctx);
}

void expand_value(Context& ctx, const ExpandValue& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.o.dim(0), H = w.heads(), v = w.value(), R = w.latent();
  const OpScope scope(ctx);
  const F32Output values(ctx, call.out);
  const float* latents = as_f32(ctx, call.o);
  for_heads(ctx, H, [&](int64_t h) {
    Gemm g{.M = T,
           .N = v,
           .K = R,
           .a = latents + h * R,
           .a_row = H * R,
           .c = values.data() + h * v,
           .c_row = H * v};
    w.fill_value_b(ctx, h, g);
    return g;
  });
  values.store(ctx);
}

}  // namespace r1::cpu
