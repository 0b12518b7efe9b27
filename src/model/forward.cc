// model/forward.cc: the forward of every family, top-down.
//
// Nothing here depends on whether it samples, scores or trains; only the tape in ctx and the batch's
// raggedness differ. The residual stream x, and the terms that are added to it, are f32 in every numerics;
// the outputs of norms have the numerics' activation type.
#include <utility>

#include "model/model.h"
#include "ops/attention/attention.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/norm/norm.h"
#include "ops/swiglu/swiglu.h"

namespace r1 {
namespace {

// As in transformers, the norms inside latent attention keep their published epsilon, whatever rms_norm_eps
// is.
constexpr float kLatentNormEps = 1e-6f;

}  // namespace

MoeTraining layer_training(const RouterTraining& training, size_t layer) {
  MoeTraining moe;
  moe.balance_scale = training.balance_scale;
  moe.stats = training.stats == nullptr ? nullptr : &(*training.stats)[layer];
  moe.balance_loss = training.balance_loss;
  return moe;
}

Tensor Model::forward(Context& ctx, const Batch& batch, const KvCache& kv, const RouterTraining& training,
                      Tape* recompute) const {
  Tensor x = embed(ctx, batch.tokens, table());
  if (ctx.tape == nullptr) return forward_in_place(ctx, batch, kv, x, training);
  if (recompute != nullptr) {
    x = forward_recomputed(ctx, batch, kv, x, training, *recompute);
    return rms_norm(ctx, x, *norm_, config_.rms_norm_eps);
  }
  // A part's result joins x together with the norm that the next part begins with.
  Tensor normed = rms_norm(ctx, x, blocks_.empty() ? *norm_ : *blocks_.front().attention_norm,
                           blocks_.empty() ? config_.rms_norm_eps : blocks_.front().eps);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    const Tensor attended = block.attended(ctx, batch, kv.layer(static_cast<int64_t>(i)), rope_, normed);
    const auto [h, mlp_in] = add_and_norm(ctx, x, attended, *block.mlp_norm, block.eps);
    const Tensor mixed = block.mixed(ctx, batch, mlp_in, layer_training(training, i));
    const NormedSum next = add_and_norm(ctx, h, mixed, last ? *norm_ : *blocks_[i + 1].attention_norm,
                                        last ? config_.rms_norm_eps : blocks_[i + 1].eps);
    x = next.sum;
    normed = next.normed;
  }
  return normed;
}

// Without a tape: x takes in each part's result in place, and the memory of the part is free again: with few rows,
// activations stay in the cache. The next part's input is made as x is written.
Tensor Model::forward_in_place(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& x,
                               const RouterTraining& training) const {
  const Tensor normed = ctx.arena.tensor(x.shape, ctx.activations());
  rms_norm_into(ctx, x, blocks_.empty() ? *norm_ : *blocks_.front().attention_norm,
                blocks_.empty() ? config_.rms_norm_eps : blocks_.front().eps, normed);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    {
      const OpScope scope(ctx);
      const Tensor attended = block.attended(ctx, batch, kv.layer(static_cast<int64_t>(i)), rope_, normed);
      add_rms_norm(ctx, x, attended, *block.mlp_norm, block.eps, normed);
    }
    const OpScope scope(ctx);
    const Tensor mixed = block.mixed(ctx, batch, normed, layer_training(training, i));
    add_rms_norm(ctx, x, mixed, last ? *norm_ : *blocks_[i + 1].attention_norm,
                 last ? config_.rms_norm_eps : blocks_[i + 1].eps, normed);
  }
  return normed;
}

Tensor Block::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                      const Tensor& x, const MoeTraining& training) const {
  const auto attend = [&](const Tensor& in) {
    return attended(ctx, batch, kv, rope, rms_norm(ctx, in, *attention_norm, eps));
  };
  const auto mix = [&](const Tensor& in) {
    return mixed(ctx, batch, rms_norm(ctx, in, *mlp_norm, eps), training);
  };
  if (ctx.tape != nullptr) {
    const auto [h, mlp_in] = add_and_norm(ctx, x, attend(x), *mlp_norm, eps);
    return add(ctx, h, mixed(ctx, batch, mlp_in, training));
  }
  for (const bool first : {true, false}) {
    const OpScope scope(ctx);
    add_in_place(ctx, x, first ? attend(x) : mix(x));
  }
  return x;
}

Tensor Block::attended(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                       const Tensor& normed) const {
  return std::visit([&](const auto& a) { return a.forward(ctx, batch, kv, rope, normed); }, attention);
}

Tensor Block::mixed(Context& ctx, const Batch& batch, const Tensor& normed,
                    const MoeTraining& training) const {
  const auto* moe = std::get_if<MoeLayer>(&mlp);
  return moe != nullptr ? moe->forward(ctx, batch, normed, training)
                        : std::get<Mlp>(mlp).forward(ctx, normed);
}

Tensor GroupedAttention::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                 const Tensor& x) const {
  const int64_t T = x.dim(0);
  const auto turned = [&](const Tensor& projected, Parameter* norm) {
    const Tensor normed = norm == nullptr ? projected : rms_norm(ctx, projected, *norm, eps);
    return r1::rope(ctx, normed, batch.positions, table, RopeStyle::half);
  };
  if (ctx.tape == nullptr) {
    const auto projected = matmuls(ctx, x, {&q, &k, &v});
    const ProjectedHeads raw{.q = projected[0].reshaped(Shape{T, heads, head_dim}),
                             .k = projected[1].reshaped(Shape{T, kv_heads, head_dim}),
                             .v = projected[2].reshaped(Shape{T, kv_heads, head_dim}),
                             .q_norm = q_norm,
                             .k_norm = k_norm,
                             .eps = eps,
                             .rotary = {batch.positions, &table, RopeStyle::half}};
    Tensor out = attention_of_projected(ctx, batch, kv, raw, scale);
    if (!out) out = attention(ctx, batch, kv, turned(raw.q, q_norm), turned(raw.k, k_norm), raw.v, scale);
    return matmul(ctx, out.reshaped(Shape{T, heads * head_dim}), o, DType::f32);
  }
  const Tensor queries = turned(matmul(ctx, x, q).reshaped(Shape{T, heads, head_dim}), q_norm);
  const Tensor keys = turned(matmul(ctx, x, k).reshaped(Shape{T, kv_heads, head_dim}), k_norm);
  const Tensor values = matmul(ctx, x, v).reshaped(Shape{T, kv_heads, head_dim});
  const Tensor out = attention(ctx, batch, kv, queries, keys, values, scale);
  return matmul(ctx, out.reshaped(Shape{T, heads * head_dim}), o, DType::f32);
}

Tensor LatentAttention::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                const Tensor& x) const {
  const int64_t T = x.dim(0);
  // The cached values of a token: the normed latent [R] and one rotary key [P] for all heads.
  const Tensor compressed = matmul(ctx, x, kv_a);  // [T, R + P]
  const Tensor c = rms_norm(ctx, slice_columns(ctx, compressed, 0, latent), *kv_norm, kLatentNormEps);
  const Rotary rotary{batch.positions, &table, style};
  const Tensor key = latent_key(ctx, c, compressed, rotary).reshaped(Shape{T, 1, latent + rope});

  const Tensor q_in = q_norm == nullptr ? x : rms_norm(ctx, matmul(ctx, x, q_a), *q_norm, kLatentNormEps);
  const Tensor queries = matmul(ctx, q_in, q).reshaped(Shape{T, heads, nope + rope});
  const Tensor absorbed = absorb_query(ctx, queries, kv_b, rotary);

  const Tensor out = attention(ctx, batch, kv, absorbed, key, c.reshaped(Shape{T, 1, latent}), scale);
  return matmul(ctx, expand_value(ctx, out, kv_b).reshaped(Shape{T, heads * value}), o, DType::f32);
}

Tensor Mlp::forward(Context& ctx, const Tensor& x) const {
  if (ctx.tape == nullptr) {
    const auto products = matmuls(ctx, x, {&up, &gate});
    return matmul(ctx, swiglu(ctx, products[1], products[0]), down, DType::f32);
  }
  // Two statements: as arguments of one call, the compiler would choose their order on the tape, and so the
  // order in which x's gradient is summed.
  const Tensor raised = matmul(ctx, x, up);
  const Tensor gated = matmul(ctx, x, gate);
  return matmul(ctx, swiglu(ctx, gated, raised), down, DType::f32);
}

Tensor MoeLayer::forward(Context& ctx, const Batch& batch, const Tensor& x,
                         const MoeTraining& training) const {
  const Tensor experts = moe(ctx, batch, x, routed, training);
  return shared.gate ? add(ctx, experts, shared.forward(ctx, x)) : experts;
}

}  // namespace r1
