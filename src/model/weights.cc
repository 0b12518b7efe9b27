// model/weights.cc: what concerns every matrix of a model: packing them ahead of several forwards, and the
// memory that they hold.
#include <type_traits>
#include <vector>

#include "model/model.h"

namespace r1 {
namespace {

// Calls f for every Weight and every LatentWeight of a part, if it is there.
template <class F>
void each(const Weight& w, const F& f) {
  if (w) f(w);
}

template <class F>
void each(const GroupedAttention& a, const F& f) {
  for (const Weight* w : {&a.q, &a.k, &a.v, &a.o}) each(*w, f);
}

template <class F>
void each(const LatentAttention& a, const F& f) {
  for (const Weight* w : {&a.q, &a.q_a, &a.kv_a, &a.o}) each(*w, f);
  f(a.kv_b);
}

template <class F>
void each(const Mlp& mlp, const F& f) {
  for (const Weight* w : {&mlp.gate, &mlp.up, &mlp.down}) each(*w, f);
}

template <class F>
void each(const MoeLayer& moe, const F& f) {
  each(moe.routed.router, f);
  for (const Expert& e : moe.routed.experts) {
    for (const Weight* w : {&e.gate, &e.up, &e.down}) each(*w, f);
  }
  each(moe.shared, f);
}

template <class F>
void each(const Block& block, const F& f) {
  std::visit([&f](const auto& a) { each(a, f); }, block.attention);
  std::visit([&f](const auto& m) { each(m, f); }, block.mlp);
}

template <class F>
void each(const std::vector<Block>& blocks, const F& f) {
  for (const Block& block : blocks) each(block, f);
}

// The first module is the MTP head; the forward reads no other.
template <class F>
void each(const std::vector<PredictionModule>& modules, const F& f) {
  if (modules.empty()) return;
  each(modules.front().join, f);
  each(modules.front().block, f);
}

}  // namespace

void Model::pack(Context& ctx) const {
  std::vector<const Weight*> weights;  // these are prepared together
  const auto take = [&]<class W>(const W& w) {
    if constexpr (std::is_same_v<W, Weight>) {
      weights.push_back(&w);
    } else {
      w.prepare(ctx);
    }
  };
  each(embedding_, take);
  each(blocks_, take);
  each(head_, take);
  each(predictions_, take);
  Weight::prepare_all(ctx, weights);
}

namespace {

const Parameter& matrix_of(const Weight& w) {
  return w.dense();
}
const Parameter& matrix_of(const LatentWeight& w) {
  return w.kv_b();
}

}  // namespace

void Model::each_held(const std::function<void(const Parameter&, int64_t bytes)>& f) const {
  const auto call = [&f](const auto& w) { f(matrix_of(w), w.held_bytes()); };
  each(embedding_, call);
  each(blocks_, call);
  each(head_, call);
  each(predictions_, call);
}

uint64_t Model::places(Context& ctx, int64_t positions) const {
  uint64_t hash = reinterpret_cast<uintptr_t>(rope_.copy_in(ctx.memory(), positions));
  const auto add = [&hash](const auto& w) {
    hash = (hash ^ reinterpret_cast<uintptr_t>(w.held_at())) * 0x9E3779B97F4A7C15u;
  };
  each(embedding_, add);
  each(blocks_, add);
  each(head_, add);
  return hash;
}

int64_t Model::held_bytes() const {
  int64_t bytes = 0;
  for (const Buffer& buffer : storage_) bytes += static_cast<int64_t>(buffer.bytes());
  each_held([&bytes](const Parameter&, int64_t held) { bytes += held; });
  return bytes;
}

}  // namespace r1
