// tests/ops/moe_util.h: layers of experts for the tests of ops/moe, and ways to run them.
#pragma once

#include "ops/moe/moe.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include "ops/moe/route.h"
#include "tests/ops/test_util.h"

namespace r1::test_moe {

using test::kEps;
using test::kNaN;
using Owned = std::unique_ptr<test::OwnedParameter>;

// The weights of one layer, with gradients that start at `grad_fill`.
struct Layer {
  Layer(const MoeConfig& config, int64_t width, int64_t hidden, uint64_t seed, float grad_fill = 0.0f,
        bool trainable = true)
      : D(width), F(hidden) {
    Random random(seed);
    const auto make = [&](int64_t n, int64_t k, double scale) {
      const std::vector<float> values =
          test::random_normal(random, n * k, scale / std::sqrt(static_cast<double>(k)));
      all.push_back(std::make_unique<test::OwnedParameter>(Shape{n, k}, values, trainable, grad_fill));
      return &all.back()->p;
    };
    w.config = config;
    w.router = Weight(make(config.experts, D, 1.0));
    for (int64_t e = 0; e < config.experts; ++e) {
      Parameter *gate = make(F, D, 1.3), *up = make(F, D, 1.0), *down = make(D, F, 1.0);
      w.experts.push_back({Weight(gate), Weight(up), Weight(down)});
    }
    bias = std::make_unique<test::OwnedParameter>(Shape{config.experts},
                                                  test::random_normal(random, config.experts, 0.1), false);
    w.bias = &bias->p;
  }
  int64_t E() const { return w.config.experts; }
  const float* router() const { return w.router.dense().value.f32(); }
  float* bias_values() const { return bias->p.value.f32(); }
  Parameter& parameter(size_t i) const { return all[i]->p; }  // router, then each expert's gate, up, down
  std::vector<const float*> matrices(int which) const {       // `which` is 0 gate, 1 up, 2 down
    std::vector<const float*> out;
    for (int64_t e = 0; e < E(); ++e)
      out.push_back(all[static_cast<size_t>(1 + 3 * e + which)]->p.value.f32());
    return out;
  }
  void fill_gradients(float value) {
    for (const Owned& p : all) std::fill(p->p.grad.values().begin(), p->p.grad.values().end(), value);
  }
  std::vector<float> gradients() const {
    std::vector<float> out;
    for (const Owned& p : all) test::append(out, p->p.grad.values());
    return out;
  }

  int64_t D, F;
  std::vector<Owned> all;
  Owned bias;
  MoeWeights w;
};

struct Outcome {
  std::vector<float> y, dx;
  double loss = 0;
};

struct Step {
  std::vector<float> x = {}, dy = {};  // if dy is empty, no gradient reaches y
  std::vector<int32_t> offsets = {};   // if empty, there is one row
  float balance_scale = 0;
  std::vector<float> held_dx = {};  // the gradient that another op has already put into dx
};

// Fills every byte that the op may take with NaN.
inline void poison(Arena& arena, int64_t floats) {
  ArenaScope scope(arena);
  std::fill_n(arena.array<float>(floats), floats, kNaN);
}

inline Outcome run(Layer& layer, const Step& step, int threads = 2, bool tape = true) {
  test::OpRun op(tape, threads);
  const int64_t T = static_cast<int64_t>(step.x.size()) / layer.D;
  poison(op.arena, 4096 + T * layer.w.config.active * (layer.D + 4 * layer.F) * 4);
  const std::vector<int32_t> whole = {0, static_cast<int32_t>(T)};
  Batch batch;
  batch.offsets = step.offsets.empty() ? whole : step.offsets;
  const Tensor x = op.input({T, layer.D}, step.x);
  Outcome out;
  if (tape) op.want(x, &out.dx);
  const Tensor y = moe(
      op.ctx, batch, x, layer.w,
      {.balance_scale = step.balance_scale, .balance_loss = step.balance_scale != 0 ? &out.loss : nullptr});
  out.y = test::to_vector(y);
  if (tape) {
    if (!step.held_dx.empty()) op.seed(x, step.held_dx);
    if (!step.dy.empty()) op.seed(y, step.dy);
    op.backward();
  }
  return out;
}

// Returns how far the closest decision in one token's selection is from changing.
inline double margin(const Layer& layer, const float* x) {
  const MoeConfig& config = layer.w.config;
  const int64_t size = config.experts / config.groups;
  std::vector<double> biased, groups, kept;
  for (int64_t e = 0; e < config.experts; ++e) {
    double z = 0;
    for (int64_t d = 0; d < layer.D; ++d) z += static_cast<double>(x[d]) * layer.router()[e * layer.D + d];
    biased.push_back(config.score == RouterScore::softmax ? std::exp(z) : 1 / (1 + std::exp(-z)));
  }
  const double sum =
      config.score == RouterScore::softmax ? std::accumulate(biased.begin(), biased.end(), 0.0) : 1.0;
  for (size_t e = 0; e < biased.size(); ++e)
    biased[e] = biased[e] / sum + static_cast<double>(layer.bias_values()[e]);
  const auto group = [&](int64_t g) {
    std::vector<double> in(biased.begin() + g * size, biased.begin() + (g + 1) * size);
    std::sort(in.rbegin(), in.rend());
    return in[0] + (size > 1 && config.group_rank == GroupRank::two_best ? in[1] : 0);
  };
  const auto gap = [](std::vector<double> values, int64_t k) {
    std::sort(values.rbegin(), values.rend());
    const auto at = static_cast<size_t>(k);
    return at >= values.size() ? 1.0 : values[at - 1] - values[at];
  };
  for (int64_t g = 0; g < config.groups; ++g) groups.push_back(group(g));
  std::vector<double> sorted = groups;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int64_t g = 0; g < config.groups; ++g) {
    if (groups[static_cast<size_t>(g)] < sorted[static_cast<size_t>(config.top_groups - 1)]) continue;
    kept.insert(kept.end(), biased.begin() + g * size, biased.begin() + (g + 1) * size);
  }
  return std::min(gap(groups, config.top_groups), gap(kept, config.active));
}

// Returns T tokens whose selections have a margin of at least `least`.
inline std::vector<float> clear_tokens(const Layer& layer, Random& random, int64_t T, double least) {
  std::vector<float> out;
  for (int64_t t = 0; t < T; ++t) {
    std::vector<float> x;
    do x = test::random_normal(random, layer.D);
    while (margin(layer, x.data()) < least);
    test::append(out, x);
  }
  return out;
}

inline MoeConfig random_config(Random& random) {
  MoeConfig config;
  config.groups = int64_t{1} << random.below(3);
  config.experts = config.groups * random.between(1, 16 / config.groups);
  config.top_groups = random.between(1, config.groups);
  config.active = random.between(1, config.top_groups * (config.experts / config.groups));
  config.norm_topk = random.below(4) != 0;
  config.routed_scaling = random.below(2) == 0 ? 1.0f : 2.5f;
  if (random.below(2) == 0) config.score = RouterScore::softmax;
  if (random.below(2) == 0) config.group_rank = GroupRank::best;
  return config;
}

inline std::string describe(const Layer& layer, int64_t T) {
  const MoeConfig& c = layer.w.config;
  std::ostringstream out;
  out << "T=" << T << " D=" << layer.D << " F=" << layer.F << " E=" << c.experts << " A=" << c.active
      << " groups=" << c.top_groups << "/" << c.groups << (c.norm_topk ? " normalised" : "")
      << (c.score == RouterScore::softmax ? " softmax" : "")
      << (c.group_rank == GroupRank::best ? " best" : "");
  return out.str();
}

inline std::vector<double> reference(const Layer& layer, const std::vector<float>& x) {
  std::vector<double> y(x.size());
  ref::moe(x.data(), layer.router(), layer.bias_values(), layer.w.config, layer.matrices(0).data(),
           layer.matrices(1).data(), layer.matrices(2).data(), static_cast<int64_t>(x.size()) / layer.D,
           layer.D, layer.F, y.data());
  return y;
}

struct ReferenceGradients {
  std::vector<double> x, parameters;  // parameters in the order of Layer::all
};
inline ReferenceGradients reference_gradients(const Layer& layer, const Step& step) {
  ref::MoeGradients g = ref::moe_backward(
      step.x.data(), layer.router(), layer.bias_values(), layer.w.config, layer.matrices(0).data(),
      layer.matrices(1).data(), layer.matrices(2).data(), step.dy.empty() ? nullptr : step.dy.data(),
      step.balance_scale != 0 ? step.offsets.data() : nullptr, static_cast<int64_t>(step.offsets.size()) - 1,
      static_cast<double>(step.balance_scale), static_cast<int64_t>(step.x.size()) / layer.D, layer.D,
      layer.F);
  ReferenceGradients out{std::move(g.x), std::move(g.router)};
  for (size_t e = 0; e < g.gate.size(); ++e) {
    for (const std::vector<double>* m : {&g.gate[e], &g.up[e], &g.down[e]}) {
      out.parameters.insert(out.parameters.end(), m->begin(), m->end());
    }
  }
  return out;
}

inline double largest(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0,
                         [](double m, double v) { return std::max(m, std::fabs(v)); });
}

// Rounding errors of chains of K terms grow like sqrt(K). Terms are at most a few times the largest result.
inline double tolerance(const std::vector<double>& want, int64_t K) {
  return 16 * kEps * (4 + std::sqrt(static_cast<double>(K))) * largest(want) + 1e-30;
}

}  // namespace r1::test_moe
