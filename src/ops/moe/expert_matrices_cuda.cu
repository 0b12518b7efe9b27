#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/tensor_groups_sm90.h"
#include "ops/moe/expert_matrices_cuda.h"
#include "ops/moe/moe.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr std::array kMatrices = {ExpertMatrix::gate, ExpertMatrix::up, ExpertMatrix::down};
constexpr size_t kKinds = kMatrices.size();
// With fewer rows per expert, reading the matrices is what takes time, and the kernel for few rows does that best.
constexpr int64_t kFewRows = 16;

const Weight& expert_matrix(const Expert& expert, ExpertMatrix which) {
  return which == ExpertMatrix::gate ? expert.gate : which == ExpertMatrix::up ? expert.up : expert.down;
}

}  // namespace

ExpertMatrices::ExpertMatrices(Context& ctx, const MoeWeights& w, int64_t slots, Use use)
    : count_(std::ssize(w.experts)),
      use_(use),
      hidden_(w.experts.front().gate.K()),
      inner_(w.experts.front().gate.N()),
      quantised_(ctx, w, ceil_div(slots, count_), use == Use::transposed),
      upload_(ctx) {
  const auto count = static_cast<size_t>(count_);
  auto* rows = ctx.host().array<const uint16_t*>(3 * count_);
  auto* gradients = ctx.host().array<float*>(3 * count_);
  mapped_ = ceil_div(slots, count_) > kFewRows;
  for (const ExpertMatrix which : kMatrices) {
    const bool packed = quantised_.has(static_cast<int>(which));
    for (int64_t e = 0; e < count_; ++e) {
      const Weight& matrix = expert_matrix(w.experts[static_cast<size_t>(e)], which);
      const int64_t at = static_cast<int64_t>(which) * count_ + e;
      const uint16_t* const data = packed ? nullptr : matrix.bf16_rows(ctx);
      const Tensor& grad = matrix.dense().grad;
      trained_ = trained_ || grad;
      aligned_ = aligned_ && reinterpret_cast<uintptr_t>(data) % 16 == 0;
      if (ctx.measuring) continue;
      rows[at] = data;
      gradients[at] = grad ? grad.f32() : nullptr;
    }
    mapped_ = mapped_ && !packed && wgmma_groups_fit(shape_of(ctx, which), count_);
  }
  mapped_ = mapped_ && aligned_;
  std::vector<CUtensorMap> maps(mapped_ ? kKinds * count : 0);
  for (const ExpertMatrix which : kMatrices) {
    TensorProduct product = shape_of(ctx, which);
    for (int64_t e = 0; mapped_ && !ctx.measuring && e < count_; ++e) {
      const int64_t at = static_cast<int64_t>(which) * count_ + e;
      product.p.data = rows[at];
      maps[static_cast<size_t>(at)] = wgmma_group_map(product);
    }
  }
  if (mapped_) maps_ = upload_.add(std::span<const CUtensorMap>(maps));
  rows_ = upload_.add(std::span<const uint16_t* const>(rows, kKinds * count));
  gradients_ = upload_.add(std::span<float* const>(gradients, kKinds * count));
  upload_.send_constants();
}

// A product without its operands of rows.
TensorProduct ExpertMatrices::shape_of(const Context& ctx, ExpertMatrix which) const {
  const bool down = which == ExpertMatrix::down, forward = use_ == Use::forward;
  const int64_t N = down ? hidden_ : inner_, K = down ? inner_ : hidden_;
  return {.I = forward ? N : K,
          .K = forward ? K : N,
          .p = {nullptr, K, forward},
          .q = {nullptr, forward ? K : N, true},
          .d_i = 1,
          .d_j = forward ? N : K,
          .most_shards = ctx.row().k_shards,
          .early = launches_early(ctx)};
}

TensorProduct ExpertMatrices::product_of(const Context& ctx, const Product& product, int64_t tokens) const {
  TensorProduct out = shape_of(ctx, product.matrix);
  out.J = tokens;
  out.q.data = product.in;
  out.d = product.out;
  out.d_bf16 = product.bf16;
  return out;
}

void ExpertMatrices::multiply_one(Context& ctx, const ExpertRows& rows, const TensorProduct& product,
                                  ExpertMatrix which) const {
  const int64_t typical = ceil_div(rows.slots, count_);
  if (quantised_.has(static_cast<int>(which)))
    return quantised_.products(product, static_cast<int>(which), rows.starts, typical);
  tensor_products(product,
                  {.count = count_,
                   .starts = rows.starts,
                   .matrices = upload_.at<const uint16_t*>(rows_) + static_cast<int64_t>(which) * count_,
                   .aligned = aligned_,
                   .typical = typical},
                  ctx.stream);
}

bool ExpertMatrices::multiply_together(Context& ctx, const ExpertRows& rows,
                                       std::span<const Product> products, bool summed) const {
  constexpr size_t kMost = 2;
  if (!mapped_ || ceil_div(rows.slots, count_) <= kFewRows || products.size() > kMost) return false;
  std::array<TensorProduct, kMost> list;
  std::array<const CUtensorMap*, kMost> maps{};
  for (size_t n = 0; n < products.size(); ++n) {
    list[n] = product_of(ctx, products[n], rows.tokens);
    if (!wgmma_groups_fit(list[n], count_)) return false;
    maps[n] = upload_.at<CUtensorMap>(maps_) + static_cast<int64_t>(products[n].matrix) * count_;
  }
  wgmma_group_products({.products = std::span(list).first(products.size()),
                        .maps = std::span(maps).first(products.size()),
                        .starts = rows.starts,
                        .experts = count_,
                        .rows = rows.slots,
                        .typical = ceil_div(rows.slots, count_),
                        .summed = summed},
                       ctx.stream);
  return true;
}

void ExpertMatrices::multiply(Context& ctx, const ExpertRows& rows, std::span<const Product> products) const {
  if (multiply_together(ctx, rows, products, false)) return;
  for (const Product& p : products) multiply_one(ctx, rows, product_of(ctx, p, rows.tokens), p.matrix);
}

void ExpertMatrices::sum(Context& ctx, const ExpertRows& rows, std::span<const Product> products) const {
  if (multiply_together(ctx, rows, products, true)) return;
  bool first = true;
  for (const Product& p : products) {
    TensorProduct product = product_of(ctx, p, rows.tokens);
    product.accumulate = !first;
    multiply_one(ctx, rows, product, p.matrix);
    first = false;
  }
}

}  // namespace r1::cuda
