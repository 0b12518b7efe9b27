// ops/mla/mla_cuda.cu: the steps around latent attention on a CUDA device. Each product is one launch over
// all heads, whose operands lie apart by the heads' strides (mla_cpu.cc). In cuda-bf16 the products are
// those of cpu-f32 on the rounded values.
#include <cuda_runtime.h>

#include "ops/convert/convert.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/mla/mla_backend.h"
#include "ops/rope/rope_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

enum class Put { assign, add, zero };

// Columns [0, n) of rows `to_width` apart become those of `from`, get them added, or become 0.
template <Put kPut>
__global__ void __launch_bounds__(kThreads)
    put_columns(const float* from, int64_t from_width, int64_t n, float* to, int64_t to_width) {
  const int64_t t = blockIdx.x;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    float& at = to[t * to_width + i];
    if constexpr (kPut == Put::zero) {
      at = 0.0f;
    } else {
      const float value = from[t * from_width + i];
      at = kPut == Put::add ? __fadd_rn(at, value) : value;
    }
  }
}

template <Put kPut>
void run_put(Context& ctx, int64_t T, const float* from, int64_t from_width, int64_t n, float* to,
             int64_t to_width) {
  if (T == 0 || n == 0) return;
  put_columns<kPut><<<static_cast<unsigned>(T), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      from, from_width, n, to, to_width);
  check_launch("mla columns");
}

}  // namespace

void absorb_query(Context& ctx, const AbsorbQuery& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = call.q.dim(2) - n;
  const OpScope scope(ctx);
  const F32Output out(ctx, call.out);
  const float *kv_b = w.rows(ctx), *queries = as_f32(ctx, call.q);
  if (!ctx.measuring) {
    products_f32({.M = T,
                  .N = R,
                  .K = n,
                  .a = {queries, H * (n + P), true},
                  .b = {kv_b, R, false},
                  .c = out.data(),
                  .c_row = H * (R + P)},
                 {.count = H, .a = n + P, .b = (n + w.value()) * R, .c = R + P}, ctx.stream);
  }
  rope_heads(ctx, call.rotary,
             {.x = queries + n, .x_head = n + P, .y = out.data() + R, .y_head = R + P, .H = H});
  out.store(ctx);
}

void absorb_query_backward(Context& ctx, const AbsorbQueryBackward& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = call.q.dim(2) - n;
  const int64_t q_row = n + P, out_row = R + P, head = (n + w.value()) * R;
  const OpScope scope(ctx);
  const float* kv_b = w.rows(ctx);
  if (const GradSlot& dq = call.dq) {
    if (!ctx.measuring) {
      products_f32({.M = T,
                    .N = n,
                    .K = R,
                    .a = {call.dout.f32(), H * out_row, true},
                    .b = {kv_b, R, true},
                    .c = dq.grad.f32(),
                    .c_row = H * q_row,
                    .accumulate = dq.accumulate},
                   {.count = H, .a = out_row, .b = head, .c = q_row}, ctx.stream);
    }
    rope_heads(ctx, call.rotary,
               {.x = call.dout.f32() + R,
                .x_head = out_row,
                .y = dq.grad.f32() + n,
                .y_head = q_row,
                .H = H,
                .back = true,
                .add = dq.accumulate});
  }
  if (!w.kv_b().grad) return;
  ctx.tape->await_turn();
  const float* queries = as_f32(ctx, call.q);
  if (ctx.measuring) return;
  products_f32({.M = n,
                .N = R,
                .K = T,
                .a = {queries, H * q_row, false},
                .b = {call.dout.f32(), H * out_row, false},
                .c = w.kv_b().grad.f32(),
                .c_row = R,
                .accumulate = true},
               {.count = H, .a = q_row, .b = out_row, .c = head}, ctx.stream);
}

void latent_key(Context& ctx, const LatentKey& call) {
  const int64_t T = call.c.dim(0), R = call.c.dim(1), P = call.rotary.width();
  const OpScope scope(ctx);
  const F32Output out(ctx, call.key);
  float* key = out.data();
  const float *c = as_f32(ctx, call.c), *compressed = as_f32(ctx, call.compressed);
  if (!ctx.measuring) run_put<Put::assign>(ctx, T, c, R, R, key, R + P);
  rope_heads(ctx, call.rotary, {.x = compressed + R, .x_head = R + P, .y = key + R, .y_head = R + P});
  out.store(ctx);
}

void latent_key_backward(Context& ctx, const LatentKeyBackward& call) {
  const int64_t T = call.dkey.dim(0), row = call.dkey.dim(1), R = row - call.rotary.width();
  const float* dkey = call.dkey.f32();
  if (const GradSlot& s = call.dcompressed) {
    float* to = s.grad.f32();
    if (!s.accumulate && !ctx.measuring) run_put<Put::zero>(ctx, T, nullptr, 0, R, to, row);
    rope_heads(ctx, call.rotary,
               {.x = dkey + R, .x_head = row, .y = to + R, .y_head = row, .back = true, .add = s.accumulate});
  }
  if (ctx.measuring || !call.dc) return;
  if (call.dc.accumulate) {
    run_put<Put::add>(ctx, T, dkey, row, R, call.dc.grad.f32(), R);
  } else {
    run_put<Put::assign>(ctx, T, dkey, row, R, call.dc.grad.f32(), R);
  }
}

void expand_value(Context& ctx, const ExpandValue& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.o.dim(0), H = w.heads(), v = w.value(), R = w.latent();
  const OpScope scope(ctx);
  const F32Output out(ctx, call.out);
  const float *kv_b = w.rows(ctx), *latents = as_f32(ctx, call.o);
  if (ctx.measuring) return;
  products_f32({.M = T,
                .N = v,
                .K = R,
                .a = {latents, H * R, true},
                .b = {kv_b + w.nope() * R, R, true},
                .c = out.data(),
                .c_row = H * v},
               {.count = H, .a = R, .b = (w.nope() + v) * R, .c = v}, ctx.stream);
  out.store(ctx);
}

void expand_value_backward(Context& ctx, const ExpandValueBackward& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.o.dim(0), H = w.heads(), n = w.nope(), v = w.value(), R = w.latent();
  const int64_t head = (n + v) * R;
  const OpScope scope(ctx);
  const float* kv_b = w.rows(ctx);
  if (call.d_o && !ctx.measuring) {
    products_f32({.M = T,
                  .N = R,
                  .K = v,
                  .a = {call.dout.f32(), H * v, true},
                  .b = {kv_b + n * R, R, false},
                  .c = call.d_o.grad.f32(),
                  .c_row = H * R,
                  .accumulate = call.d_o.accumulate},
                 {.count = H, .a = v, .b = head, .c = R}, ctx.stream);
  }
  if (!w.kv_b().grad) return;
  ctx.tape->await_turn();
  const float* outputs = as_f32(ctx, call.o);
  if (ctx.measuring) return;
  products_f32({.M = v,
                .N = R,
                .K = T,
                .a = {call.dout.f32(), H * v, false},
                .b = {outputs, H * R, false},
                .c = w.kv_b().grad.f32() + n * R,
                .c_row = R,
                .accumulate = true},
               {.count = H, .a = v, .b = R, .c = head}, ctx.stream);
}

}  // namespace r1::cuda
