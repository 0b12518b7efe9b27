// ops/mla/mla_cuda.cu: the steps around latent attention on a CUDA device. Each product is one launch over
// all heads, whose operands lie apart by the heads' strides (mla_cpu.cc). In cuda-bf16 the products run on
// tensor cores.
#include <cuda_runtime.h>

#include "ops/convert/convert.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
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

bool on_tensor_cores(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16;
}

// Bits of bf16: in place, or rounded into the arena.
const uint16_t* as_bf16(Context& ctx, const Tensor& t) {
  if (t.dtype == DType::bf16) return t.bf16();
  auto* to = ctx.arena.array<uint16_t>(t.count());
  narrow_into(ctx, t.f32(), t.count(), to);
  return to;
}

// A product of every head over tokens on tensor cores; shards as of a weight.
void run_heads(Context& ctx, TensorProduct product, const TensorGroups& heads) {
  if (ctx.measuring) return;
  product.most_shards = ctx.row().k_shards;
  tensor_products(product, heads, ctx.stream);
}

// The gradient of every head's part of kv_b: it goes on over the steps of the batch's tokens.
void run_gradients(Context& ctx, TensorProduct product, const TensorGroups& heads) {
  if (ctx.measuring) return;
  product.accumulate = true;
  if (ctx.steps != nullptr) {
    product.k_rows = ctx.steps->device;
    product.K = std::ssize(ctx.steps->rows);
  }
  tensor_products(product, heads, ctx.stream);
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
  const float* queries = as_f32(ctx, call.q);
  if (on_tensor_cores(ctx)) {
    run_heads(ctx,
              {.I = R,
               .J = T,
               .K = n,
               .p = {w.bf16_rows(ctx), R, false},
               .q = {as_bf16(ctx, call.q), H * (n + P), true},
               .d = out.data(),
               .d_i = 1,
               .d_j = H * (R + P)},
              {.count = H, .p = (n + w.value()) * R, .q = n + P, .d = R + P});
  } else if (const float* kv_b = w.rows(ctx); !ctx.measuring) {
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
  const bool tensor_cores = on_tensor_cores(ctx);
  const uint16_t* dout = tensor_cores ? as_bf16(ctx, call.dout) : nullptr;
  if (const GradSlot& dq = call.dq) {
    if (tensor_cores) {
      run_heads(ctx,
                {.I = n,
                 .J = T,
                 .K = R,
                 .p = {w.bf16_rows(ctx), R, true},
                 .q = {dout, H * out_row, true},
                 .d = dq.grad.f32(),
                 .d_i = 1,
                 .d_j = H * q_row,
                 .accumulate = dq.accumulate},
                {.count = H, .p = head, .q = out_row, .d = q_row});
    } else if (const float* kv_b = w.rows(ctx); !ctx.measuring) {
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
  if (tensor_cores) {
    return run_gradients(ctx,
                         {.I = n,
                          .J = R,
                          .K = T,
                          .p = {as_bf16(ctx, call.q), H * q_row, false},
                          .q = {dout, H * out_row, false},
                          .d = w.kv_b().grad.f32(),
                          .d_i = R,
                          .d_j = 1},
                         {.count = H, .p = q_row, .q = out_row, .d = head});
  }
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
  if (on_tensor_cores(ctx)) {
    const Tensor& out = call.out;
    return run_heads(ctx,
                     {.I = v,
                      .J = T,
                      .K = R,
                      .p = {w.bf16_rows(ctx) + w.nope() * R, R, true},
                      .q = {as_bf16(ctx, call.o), H * R, true},
                      .d = out.data,
                      .d_i = 1,
                      .d_j = H * v,
                      .d_bf16 = out.dtype == DType::bf16},
                     {.count = H, .p = (w.nope() + v) * R, .q = R, .d = v});
  }
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
  const bool tensor_cores = on_tensor_cores(ctx);
  const uint16_t* dout = tensor_cores ? as_bf16(ctx, call.dout) : nullptr;
  if (call.d_o && tensor_cores) {
    run_heads(ctx,
              {.I = R,
               .J = T,
               .K = v,
               .p = {w.bf16_rows(ctx) + n * R, R, false},
               .q = {dout, H * v, true},
               .d = call.d_o.grad.f32(),
               .d_i = 1,
               .d_j = H * R,
               .accumulate = call.d_o.accumulate},
              {.count = H, .p = head, .q = v, .d = R});
  } else if (const float* kv_b = call.d_o ? w.rows(ctx) : nullptr; call.d_o && !ctx.measuring) {
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
  if (tensor_cores) {
    return run_gradients(ctx,
                         {.I = v,
                          .J = R,
                          .K = T,
                          .p = {dout, H * v, false},
                          .q = {as_bf16(ctx, call.o), H * R, false},
                          .d = w.kv_b().grad.f32() + n * R,
                          .d_i = R,
                          .d_j = 1},
                         {.count = H, .p = v, .q = R, .d = head});
  }
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
