// model/pack.cc: packs every matrix that a forward may read, so that several forwards may then only read
// them.
#include "model/model.h"

namespace r1 {
namespace {

void pack_one(Context& ctx, const Weight& w) {
  if (w) w.pack(ctx);
}

void pack_all(Context& ctx, const GroupedAttention& a) {
  for (const Weight* w : {&a.q, &a.k, &a.v, &a.o}) pack_one(ctx, *w);
}

void pack_all(Context& ctx, const LatentAttention& a) {
  for (const Weight* w : {&a.q, &a.q_a, &a.kv_a, &a.o}) pack_one(ctx, *w);
  a.kv_b.pack(ctx);
}

void pack_all(Context& ctx, const Mlp& mlp) {
  for (const Weight* w : {&mlp.gate, &mlp.up, &mlp.down}) pack_one(ctx, *w);
}

void pack_all(Context& ctx, const MoeLayer& moe) {
  pack_one(ctx, moe.routed.router);
  for (const Expert& e : moe.routed.experts) {
    for (const Weight* w : {&e.gate, &e.up, &e.down}) pack_one(ctx, *w);
  }
  pack_all(ctx, moe.shared);
}

}  // namespace

void Model::pack(Context& ctx) const {
  for (const Block& block : blocks_) {
    std::visit([&ctx](const auto& a) { pack_all(ctx, a); }, block.attention);
    std::visit([&ctx](const auto& m) { pack_all(ctx, m); }, block.mlp);
  }
  pack_one(ctx, head_);
}

}  // namespace r1
