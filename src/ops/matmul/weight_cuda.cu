// ops/matmul/weight_cuda.cu: a Weight on a CUDA device: its rows, and the products that read them.
//
// A frozen matrix is read from its file in pieces that pass through the host's memory. In cuda-bf16 products
// run on tensor cores: what is f32 there, gradients above all, is rounded to bf16 in scratch.
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "ops/convert/convert.h"
#include "ops/convert/convert_cuda.h"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/matmul/frozen_rows_cuda.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/round_gradient_cuda.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/column_blocks_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

const float* bias_of(const Weight& w) {
  return w.bias() != nullptr ? w.bias()->value.f32() : nullptr;
}

bool on_tensor_cores(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16;
}

constexpr int kThreads = 256;

// y[r] = row indices[r], or first + r, of `table`, in f32; rounded to bf16 if kRound.
template <class From, bool kRound>
__global__ void __launch_bounds__(kThreads)
    widen_rows(const From* table, const int32_t* indices, int64_t first, int64_t K, float* y) {
  const int64_t r = blockIdx.x;
  const From* from = table + (indices != nullptr ? indices[r] : first + r) * K;
  for (int64_t i = threadIdx.x; i < K; i += kThreads) {
    const float value = to_f32(from[i]);
    y[r * K + i] = kRound ? through_bf16(value) : value;
  }
}

}  // namespace

void read_rows(Context& ctx, const ReadRows& call) {
  if (ctx.measuring) return;
  const Parameter& p = *call.dense;
  const Tensor& rows = call.rows;
  if (!p.frozen()) return narrow_f32(p.value.f32(), rows.count(), rows.bf16(), ctx.stream);
  read_frozen_rows(ctx, p, rows);
}

void copy_rows(Context& ctx, const CopyRows& call) {
  const OpScope scope(ctx);
  const int64_t n = call.count;
  const int32_t* indices = call.indices.empty() ? nullptr : on_device(ctx, call.indices);
  if (ctx.measuring || n == 0) return;
  const bool wide = call.held.dtype == DType::f32, round = call.rounding == DType::bf16;
  if (wide && !round) {
    if (indices != nullptr) return gather_rows_f32(call.held.f32(), indices, n, call.K, call.to, ctx.stream);
    const size_t bytes = static_cast<size_t>(n * call.K) * sizeof(float);
    return ctx.memory().copy(call.to, call.held.f32() + call.first * call.K, bytes, ctx.stream);
  }
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const auto blocks = static_cast<unsigned>(n);
  if (wide) {
    widen_rows<float, true>
        <<<blocks, kThreads, 0, stream>>>(call.held.f32(), indices, call.first, call.K, call.to);
  } else {
    widen_rows<uint16_t, false>
        <<<blocks, kThreads, 0, stream>>>(call.held.bf16(), indices, call.first, call.K, call.to);
  }
  check_launch("copy_rows");
}

namespace {

// Bits of bf16: in place, or rounded into the arena.
const uint16_t* as_bf16(Context& ctx, const float* from, int64_t n) {
  auto* to = ctx.arena.array<uint16_t>(n);
  if (!ctx.measuring) narrow_f32(from, n, to, ctx.stream);
  return to;
}
const uint16_t* as_bf16(Context& ctx, const Tensor& t) {
  return t.dtype == DType::bf16 ? t.bf16() : as_bf16(ctx, t.f32(), t.count());
}

void tensor_times(Context& ctx, const Weight& w, const uint16_t* x, int64_t T, void* y, bool y_bf16) {
  const uint16_t* rows = w.bf16_rows(ctx);
  const TensorProduct product = forward_product({.x = x,
                                                 .T = T,
                                                 .w = rows,
                                                 .N = w.N(),
                                                 .K = w.K(),
                                                 .bias = bias_of(w),
                                                 .y = y,
                                                 .y_bf16 = y_bf16,
                                                 .most_shards = ctx.row().k_shards,
                                                 .early = launches_early(ctx)});
  const int64_t parts = split_parts(product);
  float* sums = parts > 1 ? ctx.arena.array<float>(parts * product.I * product.J) : nullptr;
  if (ctx.measuring) return;
  if (sums != nullptr) return tensor_product_in_parts(product, sums, ctx.stream);
  tensor_product(product, ctx.stream);
}

void tensor_times_transposed(Context& ctx, const Weight& w, const uint16_t* dy, int64_t T, bool accumulate,
                             float* dx) {
  const uint16_t* rows = w.bf16_rows(ctx);
  if (ctx.measuring) return;
  tensor_product(input_gradient_product(dy, T, rows, w.N(), w.K(), ctx.row().k_shards, accumulate, dx),
                 ctx.stream);
}

void tensor_weight_gradient(Context& ctx, const Weight& w, const uint16_t* dy, const uint16_t* x, int64_t T) {
  float* grad = w.dense().grad.f32();
  if (const TokenSteps* steps = ctx.steps) {
    const int64_t tokens = std::accumulate(steps->families.begin(), steps->families.end(), int64_t{0});
    R1_CHECK(tokens == T, w.dense().name, ": a gradient over ", T, " tokens, the batch has ", tokens);
    return split_weight_gradient(ctx, x, dy, w.N(), w.K(), grad);
  }
  if (ctx.measuring) return;
  tensor_product(weight_gradient_product(x, dy, T, w.N(), w.K(), nullptr, 0, grad), ctx.stream);
}

struct AddDy {
  __device__ float operator()(float sum, float dy, float, float) const { return __fadd_rn(sum, dy); }
};

void add_bias_gradient(Context& ctx, const Weight& w, const float* dy, int64_t T) {
  if (w.bias() == nullptr || !w.bias()->grad) return;
  float* grad = w.bias()->grad.f32();
  if (sums_by_family(ctx))
    return run_column_blocks<false, false>(ctx, "matmul_dbias", {dy, nullptr, nullptr}, T, w.N(), grad,
                                           AddDy());
  if (!ctx.measuring) matmul_dbias_f32(dy, T, w.N(), grad, ctx.stream);
}

// Returns dy [T, N] in bf16 and adds its columns to the gradient of the bias, in one pass if the shapes allow it.
const uint16_t* rounded_gradient(Context& ctx, const Weight& w, const Tensor& dy) {
  if (w.bias() == nullptr || !w.bias()->grad) return as_bf16(ctx, dy);
  auto* rounded = ctx.arena.array<uint16_t>(dy.count());
  if (round_and_sum_columns(ctx, dy.f32(), dy.dim(0), w.N(), rounded, w.bias()->grad.f32())) return rounded;
  if (!ctx.measuring) narrow_f32(dy.f32(), dy.count(), rounded, ctx.stream);
  add_bias_gradient(ctx, w, dy.f32(), dy.dim(0));
  return rounded;
}

}  // namespace

void times(Context& ctx, const WeightProduct& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  if (on_tensor_cores(ctx))
    return tensor_times(ctx, w, as_bf16(ctx, call.x, call.T * w.K()), call.T, call.y, false);
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_f32(call.x, call.T, rows, w.N(), w.K(), bias_of(w), call.y, ctx.stream);
}

void times_transposed(Context& ctx, const WeightTransposed& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  if (on_tensor_cores(ctx)) {
    const uint16_t* dy = as_bf16(ctx, call.dy, call.T * w.N());
    return tensor_times_transposed(ctx, w, dy, call.T, call.accumulate, call.dx);
  }
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_dx_f32(call.dy, call.T, rows, w.N(), w.K(), call.accumulate, call.dx, ctx.stream);
}

void add_weight_gradient(Context& ctx, const WeightGradient& call) {
  const Weight& w = *call.w;
  if (const Tensor& grad = w.dense().grad) {
    if (on_tensor_cores(ctx)) {
      const OpScope scope(ctx);
      const uint16_t* dy = as_bf16(ctx, call.dy, call.T * w.N());
      tensor_weight_gradient(ctx, w, dy, as_bf16(ctx, call.x, call.T * w.K()), call.T);
    } else if (!ctx.measuring) {
      matmul_dw_f32(call.x, call.dy, call.T, w.N(), w.K(), grad.f32(), ctx.stream);
    }
  }
  add_bias_gradient(ctx, w, call.dy, call.T);
}

void matmul_forward(Context& ctx, const MatmulForward& call) {
  if (on_tensor_cores(ctx)) {
    const OpScope scope(ctx);
    return tensor_times(ctx, *call.w, as_bf16(ctx, call.x), call.x.dim(0), call.y.data,
                        call.y.dtype == DType::bf16);
  }
  times(ctx, {.w = call.w, .x = call.x.f32(), .T = call.x.dim(0), .y = call.y.f32()});
}

bool matmuls_forward(Context& ctx, std::span<const MatmulForward> calls) {
  std::array<TensorProduct, kMostProducts> products;
  if (!on_tensor_cores(ctx) || calls.empty() || calls.size() > products.size()) return false;
  if (calls.front().x.dtype != DType::bf16) return false;
  size_t count = 0;
  for (const MatmulForward& call : calls) {
    const Weight& w = *call.w;
    products[count++] = forward_product({.x = call.x.bf16(),
                                         .T = call.x.dim(0),
                                         .w = w.bf16_rows(ctx),
                                         .N = w.N(),
                                         .K = w.K(),
                                         .bias = bias_of(w),
                                         .y = call.y.data,
                                         .y_bf16 = call.y.dtype == DType::bf16,
                                         .most_shards = ctx.row().k_shards,
                                         .early = launches_early(ctx)});
  }
  if (!ctx.measuring) tensor_products_of(std::span(products).first(count), ctx.stream);
  return true;
}

void matmul_backward(Context& ctx, const MatmulBackward& call) {
  const int64_t T = call.x.dim(0);
  if (on_tensor_cores(ctx)) {
    const OpScope scope(ctx);
    const Weight& w = *call.w;
    ctx.tape->await_turn();
    const uint16_t* narrow = call.rounded ? call.rounded.bf16() : rounded_gradient(ctx, w, call.dy);
    if (call.dx) tensor_times_transposed(ctx, w, narrow, T, call.dx.accumulate, call.dx.grad.f32());
    if (w.dense().grad) tensor_weight_gradient(ctx, w, narrow, as_bf16(ctx, call.x), T);
    return;
  }
  const float* dy = call.dy.f32();
  if (call.dx) {
    times_transposed(
        ctx, {.w = call.w, .dy = dy, .T = T, .dx = call.dx.grad.f32(), .accumulate = call.dx.accumulate});
  }
  ctx.tape->await_turn();
  add_weight_gradient(ctx, {.w = call.w, .dy = dy, .x = call.x.f32(), .T = T});
}

}  // namespace r1::cuda
