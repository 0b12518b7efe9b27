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

// x += part(x), after which the memory of part(x) is free again: with few rows, activations stay in the
// cache.
template <class Part>
void add_scoped(Context& ctx, const Part& part, const Tensor& x) {
  const OpScope scope(ctx);
  add_in_place(ctx, x, part(x));
}

}  // namespace

Tensor Model::forward(Context& ctx, const Batch& batch, const KvCache& kv,
                      const RouterTraining& training) const {
  Tensor x = embed(ctx, batch.tokens, table());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    MoeTraining moe;
    moe.balance_scale = training.balance_scale;
    moe.stats = training.stats == nullptr ? nullptr : &(*training.stats)[i];
    moe.balance_loss = training.balance_loss;
    x = blocks_[i].forward(ctx, batch, kv.layer(static_cast<int64_t>(i)), rope_, x, moe);
  }
  return rms_norm(ctx, x, *norm_, config_.rms_norm_eps);
}

Tensor Block::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                      const Tensor& x, const MoeTraining& training) const {
  const auto attended = [&](const Tensor& in) {
    const Tensor normed = rms_norm(ctx, in, *attention_norm, eps);
    return std::visit([&](const auto& a) { return a.forward(ctx, batch, kv, rope, normed); }, attention);
  };
  const auto mixed = [&](const Tensor& in) {
    const Tensor normed = rms_norm(ctx, in, *mlp_norm, eps);
    const auto* moe = std::get_if<MoeLayer>(&mlp);
    return moe != nullptr ? moe->forward(ctx, batch, normed, training)
                          : std::get<Mlp>(mlp).forward(ctx, normed);
  };
  if (ctx.tape != nullptr) {
    const Tensor h = add(ctx, x, attended(x));
    return add(ctx, h, mixed(h));
  }
  add_scoped(ctx, attended, x);
  add_scoped(ctx, mixed, x);
  return x;
}

Tensor GroupedAttention::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                 const Tensor& x) const {
  const int64_t T = x.dim(0);
  const auto turned = [&](const Tensor& projected, Parameter* norm) {
    const Tensor normed = norm == nullptr ? projected : rms_norm(ctx, projected, *norm, eps);
    return r1::rope(ctx, normed, batch.positions, table, RopeStyle::half);
  };
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
