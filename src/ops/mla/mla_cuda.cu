// ops/mla/mla_cuda.cu: the steps around latent attention on a CUDA device. Each product is one launch over
// all heads, whose operands lie apart by the heads' strides (mla_cpu.cc). In cuda-bf16 the products run on
// tensor cores.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/convert/convert.h"
#include "ops/matmul/listed_gradient_cuda.cuh"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/mla/mla_backend.h"
#include "ops/rope/rope_cuda.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

enum class Put { assign, add, zero };

// Columns [0, n) of rows `to_width` apart become those of `from`, get them added, or become 0.
// V: f32, or the bits of bf16, which are not added.
template <Put kPut, class V>
__global__ void __launch_bounds__(kThreads)
    put_columns(const V* from, int64_t from_width, int64_t n, V* to, int64_t to_width) {
  const int64_t t = blockIdx.x;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    V& at = to[t * to_width + i];
    if constexpr (kPut == Put::zero) {
      at = 0;
    } else if constexpr (kPut == Put::assign) {
      at = from[t * from_width + i];
    } else {
      at = __fadd_rn(at, from[t * from_width + i]);
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

// Tokens [first, first + count) of the batch.
struct HeadChain {
  int32_t first, count;
};
// The gradients of kv_b: chain c of head h goes to d + (c heads + h) I J.
struct HeadGradients {
  ListedGradient all;  // the first head's gradient, over all k
  int64_t heads, p_head, q_head;
  const HeadChain* chains;
  __device__ int64_t enter(ListedGradient& g) const {
    const HeadChain chain = chains[blockIdx.y / heads];
    const int64_t head = blockIdx.y % heads;
    g = all;
    g.p += head * p_head + chain.first * g.p_row, g.q += head * q_head + chain.first * g.q_row;
    g.d += static_cast<int64_t>(blockIdx.y) * g.I * g.J;
    g.k = chain.count;
    return blockIdx.x;
  }
};

// to[h * apart + i] += from[h n + i], from[(heads + h) n + i], ... in order, for i < n.
__global__ void __launch_bounds__(kThreads)
    add_chains(const float* from, int64_t heads, int64_t n, int64_t chains, float* to, int64_t apart) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= heads * n) return;
  float& sum = to[at / n * apart + at % n];
  float total = sum;
#pragma unroll 4
  for (int64_t c = 0; c < chains; ++c) total = __fadd_rn(total, from[c * heads * n + at]);
  sum = total;
}

// The chains of the batch: of each family, pieces of 1,024 tokens. Without families, one chain.
std::span<const HeadChain> chains_of(Context& ctx, int64_t T) {
  constexpr int64_t kMostTokens = kChainSteps * kTokenStep;
  const std::span<const int64_t> families =
      ctx.steps != nullptr ? ctx.steps->families : std::span<const int64_t>(&T, 1);
  int64_t most = 0, count = 0, token = 0;
  for (const int64_t tokens : families) most += ceil_div(tokens, kMostTokens);
  auto* list = ctx.host().array<HeadChain>(most);
  for (const int64_t tokens : families) {
    const int64_t piece = ctx.steps != nullptr ? kMostTokens : tokens;
    for (int64_t begin = 0; begin < tokens; begin += piece)
      list[count++] = {static_cast<int32_t>(token + begin),
                       static_cast<int32_t>(std::min(tokens - begin, piece))};
    token += tokens;
  }
  R1_CHECK(token == T, "heads of ", T, " tokens, the batch has ", token);
  return {list, static_cast<size_t>(count)};
}

// Adds to the gradient of every head's part of kv_b, [I, J] of `apart` floats, the product of its columns of p and q over
// the tokens: chain by chain, as a dense weight's gradient is summed (split_gradient_cuda.h).
void run_gradients(Context& ctx, HeadGradients gradients, int64_t T, float* to, int64_t apart) {
  using Tile = ListedTile<64>;
  constexpr int64_t kMostFloats = int64_t{1} << 26;  // 256 MiB of chains at a time, or one of each head
  const OpScope scope(ctx);
  ListedGradient& g = gradients.all;
  const std::span<const HeadChain> chains = chains_of(ctx, T);
  Upload upload(ctx);
  const int list = upload.add(chains);
  upload.send();
  const int64_t count = std::ssize(chains), each = gradients.heads * g.I * g.J;
  const int64_t at_once =
      std::clamp<int64_t>(kMostFloats / std::max<int64_t>(each, 1), 1, std::max<int64_t>(count, 1));
  g.d = ctx.arena.array<float>(at_once * each);
  if (ctx.measuring || T == 0 || each == 0) return;
  g.vectors = g.p_row % kVector == 0 && g.q_row % kVector == 0 && gradients.p_head % kVector == 0 &&
              gradients.q_head % kVector == 0 && reinterpret_cast<uintptr_t>(g.p) % 16 == 0 &&
              reinterpret_cast<uintptr_t>(g.q) % 16 == 0;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t here = std::min(at_once, count - first);
    gradients.chains = upload.at<HeadChain>(list) + first;
    launch_listed<Tile>(
        gradients,
        dim3(static_cast<unsigned>(Tile::tiles(g.I, g.J)), static_cast<unsigned>(here * gradients.heads)),
        ctx.stream, "mla dkv_b");
    add_chains<<<static_cast<unsigned>(ceil_div(each, kThreads)), kThreads, 0,
                 static_cast<cudaStream_t>(ctx.stream)>>>(g.d, gradients.heads, g.I * g.J, here, to, apart);
    check_launch("mla dkv_b, chains");
  }
}

template <Put kPut, class V>
void run_put(Context& ctx, int64_t T, const V* from, int64_t from_width, int64_t n, V* to, int64_t to_width) {
  if (T == 0 || n == 0) return;
  put_columns<kPut, V><<<static_cast<unsigned>(T), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      from, from_width, n, to, to_width);
  check_launch("mla columns");
}

// The rotary columns of [T, H, .] heads, bf16 to bf16: q's last P are turned into out's.
void turn_heads(Context& ctx, const Rotary& rotary, const uint16_t* q, int64_t q_head, uint16_t* out,
                int64_t out_head, int64_t H) {
  RopeRows rows{.x = q, .x_head = q_head, .y = out, .y_head = out_head, .H = H, .bf16 = true};
  turn_rows(ctx, rotary, rows);
}

// The first columns of [T, H, out_head] become every head's q times W_uk.
void absorb_bits(Context& ctx, const LatentWeight& w, const uint16_t* q, int64_t T, int64_t q_head,
                 uint16_t* out, int64_t out_head) {
  const int64_t H = w.heads(), R = w.latent();
  run_heads(ctx,
            {.I = R,
             .J = T,
             .K = w.nope(),
             .p = {w.bf16_rows(ctx), R, false},
             .q = {q, H * q_head, true},
             .d = out,
             .d_i = 1,
             .d_j = H * out_head,
             .d_bf16 = true},
            {.count = H, .p = (w.nope() + w.value()) * R, .q = q_head, .d = out_head});
}

}  // namespace

void absorb_query(Context& ctx, const AbsorbQuery& call) {
  const LatentWeight& w = *call.w;
  const int64_t T = call.q.dim(0), H = w.heads(), n = w.nope(), R = w.latent(), P = call.q.dim(2) - n;
  const OpScope scope(ctx);
  if (on_tensor_cores(ctx)) {
    const uint16_t* q = as_bf16(ctx, call.q);
    uint16_t* out = call.out.bf16();
    absorb_bits(ctx, w, q, T, n + P, out, R + P);
    return turn_heads(ctx, call.rotary, q + n, n + P, out + R, R + P, H);
  }
  const F32Output out(ctx, call.out);
  const float* queries = as_f32(ctx, call.q);
  if (const float* kv_b = w.rows(ctx); !ctx.measuring) {
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

void absorb_into(Context& ctx, const AbsorbInto& call) {
  const OpScope scope(ctx);
  absorb_bits(ctx, *call.w, as_bf16(ctx, call.q), call.q.dim(0), call.q.dim(2), call.out.bf16(),
              call.out.dim(2));
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
    return run_gradients(
        ctx,
        {.all =
             {.p = as_bf16(ctx, call.q), .q = dout, .p_row = H * q_row, .q_row = H * out_row, .I = n, .J = R},
         .heads = H,
         .p_head = q_row,
         .q_head = out_row,
         .chains = nullptr},
        T, w.kv_b().grad.f32(), head);
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
  if (call.key.dtype == DType::bf16 && call.c.dtype == DType::bf16 && call.compressed.dtype == DType::bf16) {
    uint16_t* const bits = call.key.bf16();
    if (!ctx.measuring)
      run_put<Put::assign>(ctx, T, static_cast<const uint16_t*>(call.c.bf16()), R, R, bits, R + P);
    return turn_heads(ctx, call.rotary, call.compressed.bf16() + R, R + P, bits + R, R + P, 1);
  }
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
    if (!s.accumulate && !ctx.measuring) run_put<Put::zero, float>(ctx, T, nullptr, 0, R, to, row);
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
    return run_gradients(
        ctx,
        {.all = {.p = dout, .q = as_bf16(ctx, call.o), .p_row = H * v, .q_row = H * R, .I = v, .J = R},
         .heads = H,
         .p_head = v,
         .q_head = R,
         .chains = nullptr},
        T, w.kv_b().grad.f32() + n * R, head);
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
