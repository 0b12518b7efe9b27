// ops/residual/residual_cuda.cu: a part of a block in few launches, on tensor cores (ops/matmul/tensor_stream_cuda.h).
#include <array>

#include "ops/matmul/tensor_stream_cuda.h"
#include "ops/residual/residual_backend.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

// While memory is measured the ops run one by one, which takes more: there may be no device to ask for its size.
bool may_stream(const Context& ctx, int64_t T) {
  return ctx.row().product == Product::tensor_bf16 && ctx.inputs == nullptr && !ctx.measuring &&
         T <= kMostStreamRows;
}

TensorProduct product_of_weight(Context& ctx, const Weight& w, const Tensor& x) {
  return forward_product({.x = x.dtype == DType::bf16 ? x.bf16() : nullptr,
                          .T = x.dim(0),
                          .w = w.bf16_rows(ctx),
                          .N = w.N(),
                          .K = w.K(),
                          .bias = w.bias() != nullptr ? w.bias()->value.f32() : nullptr,
                          .y_bf16 = true,
                          .most_shards = ctx.row().k_shards,
                          .early = launches_early(ctx)});
}

StreamCall call_of(std::span<const TensorProduct> products, const ResidualRows& rows) {
  StreamCall call{.products = products};
  if (rows.norm.w == nullptr) return call;
  call.x = rows.x.f32(), call.norm = rows.norm.w->value.f32(), call.eps = rows.norm.eps;
  return call;
}

}  // namespace

std::vector<Tensor> residual_products(Context& ctx, const ResidualProducts& of) {
  std::array<TensorProduct, kMostProducts> products;
  if (!may_stream(ctx, of.rows.x.dim(0)) || of.weights.size() > products.size()) return {};
  size_t count = 0;
  for (const Weight* w : of.weights) {
    if (w->has_blocks(ctx)) return {};
    products[count++] = product_of_weight(ctx, *w, of.rows.x);
  }
  const StreamCall call = call_of(std::span(products).first(count), of.rows);
  if (!stream_fits(call)) return {};
  std::vector<Tensor> out;
  for (size_t n = 0; n < count; ++n) {
    out.push_back(ctx.arena.tensor({of.rows.x.dim(0), of.weights[n]->N()}, DType::bf16));
    products[n].d = out.back().data;
  }
  stream_products(call, ctx.stream);
  return out;
}

Tensor residual_gated(Context& ctx, const ResidualGated& of) {
  if (!may_stream(ctx, of.rows.x.dim(0)) || of.gate->has_blocks(ctx) || of.up->has_blocks(ctx)) return {};
  std::array<TensorProduct, 2> products = {product_of_weight(ctx, *of.gate, of.rows.x),
                                           product_of_weight(ctx, *of.up, of.rows.x)};
  StreamCall call = call_of(products, of.rows);
  call.output = StreamOutput::gate;
  if (!stream_fits(call)) return {};
  const Tensor out = ctx.arena.tensor({of.rows.x.dim(0), of.gate->N()}, DType::bf16);
  products[0].d = out.data;
  stream_products(call, ctx.stream);
  return out;
}

bool residual_sum(Context& ctx, const ResidualSum& of) {
  if (!may_stream(ctx, of.x.dim(0)) || of.w->has_blocks(ctx) || of.y.dtype != DType::bf16) return false;
  TensorProduct product = product_of_weight(ctx, *of.w, of.y);
  product.d = of.x.data, product.d_bf16 = false;
  const StreamCall call{.products = {&product, 1}, .output = StreamOutput::add};
  if (!stream_fits(call)) return false;
  stream_products(call, ctx.stream);
  return true;
}

}  // namespace r1::cuda
