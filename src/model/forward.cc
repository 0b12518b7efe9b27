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
#include "ops/residual/residual.h"
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
// activations stay in the cache.
Tensor Model::forward_in_place(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& x,
                               const RouterTraining& training) const {
  const Norm last{norm_, config_.rms_norm_eps};
  const auto norm_of = [&](size_t i) {
    return i < blocks_.size() ? Norm{blocks_[i].attention_norm, blocks_[i].eps} : last;
  };
  ResidualStream stream(ctx, x, norm_of(0));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const Norm between{block.mlp_norm, block.eps}, next = norm_of(i + 1);
    {
      const OpScope scope(ctx);
      const KvPages& pages = kv.layer(static_cast<int64_t>(i));
      if (const auto* grouped = std::get_if<GroupedAttention>(&block.attention)) {
        grouped->add_to(ctx, batch, pages, rope_, stream, between);
      } else {
        stream.add(ctx, block.attended(ctx, batch, pages, rope_, stream.normed(ctx)), between);
      }
    }
    const OpScope scope(ctx);
    if (const auto* mlp = std::get_if<Mlp>(&block.mlp)) {
      mlp->add_to(ctx, stream, next);
    } else {
      stream.add(ctx, block.mixed(ctx, batch, stream.normed(ctx), layer_training(training, i)), next);
    }
  }
  return stream.normed(ctx);
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

Tensor GroupedAttention::turned(Context& ctx, const Batch& batch, const RopeTable& table,
                                const Tensor& projected, Parameter* norm) const {
  const Tensor normed = norm == nullptr ? projected : rms_norm(ctx, projected, *norm, eps);
  return r1::rope(ctx, normed, batch.positions, table, RopeStyle::half);
}

// Without a tape, from the products of q, k and v. Returns [T, heads * head_dim].
Tensor GroupedAttention::attended(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                  const std::vector<Tensor>& projected) const {
  const int64_t T = projected[0].dim(0);
  const ProjectedHeads raw{.q = projected[0].reshaped(Shape{T, heads, head_dim}),
                           .k = projected[1].reshaped(Shape{T, kv_heads, head_dim}),
                           .v = projected[2].reshaped(Shape{T, kv_heads, head_dim}),
                           .q_norm = q_norm,
                           .k_norm = k_norm,
                           .eps = eps,
                           .rotary = {batch.positions, &table, RopeStyle::half}};
  Tensor out = attention_of_projected(ctx, batch, kv, raw, scale);
  if (!out)
    out = attention(ctx, batch, kv, turned(ctx, batch, table, raw.q, q_norm),
                    turned(ctx, batch, table, raw.k, k_norm), raw.v, scale);
  return out.reshaped(Shape{T, heads * head_dim});
}

Tensor GroupedAttention::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                 const Tensor& x) const {
  if (ctx.tape == nullptr)
    return matmul(ctx, attended(ctx, batch, kv, table, matmuls(ctx, x, {&q, &k, &v})), o, DType::f32);
  const int64_t T = x.dim(0);
  const Tensor queries =
      turned(ctx, batch, table, matmul(ctx, x, q).reshaped(Shape{T, heads, head_dim}), q_norm);
  const Tensor keys =
      turned(ctx, batch, table, matmul(ctx, x, k).reshaped(Shape{T, kv_heads, head_dim}), k_norm);
  const Tensor values = matmul(ctx, x, v).reshaped(Shape{T, kv_heads, head_dim});
  const Tensor out = attention(ctx, batch, kv, queries, keys, values, scale);
  return matmul(ctx, out.reshaped(Shape{T, heads * head_dim}), o, DType::f32);
}

void GroupedAttention::add_to(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                              ResidualStream& stream, const Norm& next) const {
  stream.add_matmul(ctx, attended(ctx, batch, kv, table, stream.matmuls(ctx, {&q, &k, &v})), o, next);
}

Tensor LatentAttention::forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& table,
                                const Tensor& x) const {
  if (places_latents(ctx, batch, kv)) return forward_placed(ctx, batch, kv, table, x);
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

// Latent attention of a decoding step in fewer launches, with the bits of forward().
Tensor LatentAttention::forward_placed(Context& ctx, const Batch& batch, const KvPages& kv,
                                       const RopeTable& table, const Tensor& x) const {
  const int64_t T = x.dim(0);
  std::vector<Tensor> products;
  if (q_norm == nullptr) {
    products = matmuls(ctx, x, {&kv_a, &q});
  } else {
    products = matmuls(ctx, x, {&kv_a, &q_a});
    products[1] = matmul(ctx, rms_norm(ctx, products[1], *q_norm, kLatentNormEps), q);
  }
  const Tensor queries = products[1].reshaped(Shape{T, heads, nope + rope});
  const Tensor absorbed = ctx.output({T, heads, latent + rope}, ctx.activations());
  place_latents(ctx, batch, kv,
                {.q = queries,
                 .compressed = products[0],
                 .norm = kv_norm,
                 .eps = kLatentNormEps,
                 .rotary = {batch.positions, &table, style}},
                absorbed);
  absorb_into(ctx, queries, kv_b, absorbed);
  const Tensor out = attention_of_placed(ctx, batch, kv, absorbed, scale);
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

void Mlp::add_to(Context& ctx, ResidualStream& stream, const Norm& next) const {
  stream.add_matmul(ctx, stream.gated(ctx, gate, up), down, next);
}

Tensor MoeLayer::forward(Context& ctx, const Batch& batch, const Tensor& x,
                         const MoeTraining& training) const {
  const Tensor experts = moe(ctx, batch, x, routed, training);
  return shared.gate ? add(ctx, experts, shared.forward(ctx, x)) : experts;
}

}  // namespace r1
