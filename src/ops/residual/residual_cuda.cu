// ops/residual/residual_cuda.cu: a part of a block in few launches, on tensor cores (ops/matmul/tensor_stream_cuda.h).
#include <algorithm>
#include <array>

#include "ops/matmul/quant_stream_cuda.h"
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

// The product of a weight, without the address of a weight that has tiles.
TensorProduct product_of_weight(Context& ctx, const Weight& w, const Tensor& x) {
  return forward_product({.x = x.dtype == DType::bf16 ? x.bf16() : nullptr,
                          .T = x.dim(0),
                          .w = w.has_tiles(ctx) ? nullptr : w.bf16_rows(ctx),
                          .N = w.N(),
                          .K = w.K(),
                          .bias = w.bias() != nullptr ? w.bias()->value.f32() : nullptr,
                          .y_bf16 = true,
                          .most_shards = ctx.row().k_shards,
                          .early = launches_early(ctx)});
}
QuantProductOnTiles product_on_tiles(Context& ctx, const Weight& w, const Tensor& x) {
  return {{w.dense().stored.format, w.N(), w.K(), w.tiles(ctx)}, product_of_weight(ctx, w, x)};
}

StreamCall call_of(std::span<const TensorProduct> products, const ResidualRows& rows) {
  StreamCall call{.products = products};
  if (rows.norm.w == nullptr) return call;
  call.x = rows.x.f32(), call.norm = rows.norm.w->value.f32(), call.eps = rows.norm.eps;
  return call;
}

QuantStreamCall quant_call_of(std::span<const QuantProductOnTiles> products, const ResidualRows& rows) {
  QuantStreamCall call{.products = products};
  if (rows.norm.w == nullptr) return call;
  call.x = rows.x.f32(), call.norm = rows.norm.w->value.f32(), call.eps = rows.norm.eps;
  return call;
}

bool all_have_tiles(const Context& ctx, std::span<const Weight* const> weights) {
  return std::ranges::all_of(weights, [&](const Weight* w) { return w->has_tiles(ctx); });
}

// Products of quantised weights: a launch for each of their formats.
std::vector<Tensor> quant_residual_products(Context& ctx, const ResidualProducts& of) {
  std::array<QuantProductOnTiles, kMostProducts> products;  // those of one format lie one behind the other
  std::array<size_t, kMostProducts> places{};               // of a weight's product among them
  std::array<size_t, kMostProducts + 1> begins{};           // of a launch's products
  std::array<bool, kMostProducts> placed{};
  size_t count = 0, launches = 0;
  for (size_t n = 0; n < of.weights.size(); ++n) {
    if (placed[n]) continue;
    begins[launches++] = count;
    for (size_t m = n; m < of.weights.size(); ++m) {
      if (of.weights[m]->dense().stored.format != of.weights[n]->dense().stored.format) continue;
      placed[m] = true;
      places[m] = count;
      products[count++] = product_on_tiles(ctx, *of.weights[m], of.rows.x);
    }
  }
  begins[launches] = count;
  const auto call_at = [&](size_t launch) {
    return quant_call_of(std::span(products).subspan(begins[launch], begins[launch + 1] - begins[launch]),
                         of.rows);
  };
  for (size_t launch = 0; launch < launches; ++launch)
    if (!quant_stream_fits(call_at(launch))) return {};
  std::vector<Tensor> out;
  for (size_t n = 0; n < count; ++n) {
    out.push_back(ctx.arena.tensor({of.rows.x.dim(0), of.weights[n]->N()}, DType::bf16));
    products[places[n]].product.d = out.back().data;
  }
  for (size_t launch = 0; launch < launches; ++launch) quant_stream(call_at(launch), ctx.stream);
  return out;
}

}  // namespace

std::vector<Tensor> residual_products(Context& ctx, const ResidualProducts& of) {
  std::array<TensorProduct, kMostProducts> products;
  if (!may_stream(ctx, of.rows.x.dim(0)) || of.weights.size() > products.size()) return {};
  if (all_have_tiles(ctx, of.weights)) return quant_residual_products(ctx, of);
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
  if (!may_stream(ctx, of.rows.x.dim(0))) return {};
  if (of.gate->has_tiles(ctx) && of.up->has_tiles(ctx)) {
    std::array<QuantProductOnTiles, 2> pair = {product_on_tiles(ctx, *of.gate, of.rows.x),
                                               product_on_tiles(ctx, *of.up, of.rows.x)};
    QuantStreamCall call = quant_call_of(pair, of.rows);
    call.output = StreamOutput::gate;
    if (!quant_stream_fits(call)) return {};
    const Tensor out = ctx.arena.tensor({of.rows.x.dim(0), of.gate->N()}, DType::bf16);
    pair[0].product.d = out.data;
    quant_stream(call, ctx.stream);
    return out;
  }
  if (of.gate->has_blocks(ctx) || of.up->has_blocks(ctx)) return {};
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
  if (!may_stream(ctx, of.x.dim(0)) || of.y.dtype != DType::bf16) return false;
  if (of.w->has_tiles(ctx)) {
    QuantProductOnTiles one = product_on_tiles(ctx, *of.w, of.y);
    one.product.d = of.x.data, one.product.d_bf16 = false;
    const QuantStreamCall call{.products = {&one, 1}, .output = StreamOutput::add};
    if (!quant_stream_fits(call)) return false;
    quant_stream(call, ctx.stream);
    return true;
  }
  if (of.w->has_blocks(ctx)) return false;
  TensorProduct product = product_of_weight(ctx, *of.w, of.y);
  product.d = of.x.data, product.d_bf16 = false;
  const StreamCall call{.products = {&product, 1}, .output = StreamOutput::add};
  if (!stream_fits(call)) return false;
  stream_products(call, ctx.stream);
  return true;
}

}  // namespace r1::cuda
