// ops/moe compared with the double reference, finite differences and transformers, and with itself to the
// bit.
#include "ops/moe/moe.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include "ops/moe/route.h"
#include "tests/ops/test_util.h"

namespace r1 {
namespace {
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
void poison(Arena& arena, int64_t floats) {
  ArenaScope scope(arena);
  std::fill_n(arena.array<float>(floats), floats, kNaN);
}

Outcome run(Layer& layer, const Step& step, int threads = 2, bool tape = true) {
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
double margin(const Layer& layer, const float* x) {
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
std::vector<float> clear_tokens(const Layer& layer, Random& random, int64_t T, double least) {
  std::vector<float> out;
  for (int64_t t = 0; t < T; ++t) {
    std::vector<float> x;
    do x = test::random_normal(random, layer.D);
    while (margin(layer, x.data()) < least);
    test::append(out, x);
  }
  return out;
}

MoeConfig random_config(Random& random) {
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

std::string describe(const Layer& layer, int64_t T) {
  const MoeConfig& c = layer.w.config;
  std::ostringstream out;
  out << "T=" << T << " D=" << layer.D << " F=" << layer.F << " E=" << c.experts << " A=" << c.active
      << " groups=" << c.top_groups << "/" << c.groups << (c.norm_topk ? " normalised" : "")
      << (c.score == RouterScore::softmax ? " softmax" : "")
      << (c.group_rank == GroupRank::best ? " best" : "");
  return out.str();
}

std::vector<double> reference(const Layer& layer, const std::vector<float>& x) {
  std::vector<double> y(x.size());
  ref::moe(x.data(), layer.router(), layer.bias_values(), layer.w.config, layer.matrices(0).data(),
           layer.matrices(1).data(), layer.matrices(2).data(), static_cast<int64_t>(x.size()) / layer.D,
           layer.D, layer.F, y.data());
  return y;
}

struct ReferenceGradients {
  std::vector<double> x, parameters;  // parameters in the order of Layer::all
};
ReferenceGradients reference_gradients(const Layer& layer, const Step& step) {
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

double largest(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0,
                         [](double m, double v) { return std::max(m, std::fabs(v)); });
}

// Rounding errors of chains of K terms grow like sqrt(K). Terms are at most a few times the largest result.
double tolerance(const std::vector<double>& want, int64_t K) {
  return 16 * kEps * (4 + std::sqrt(static_cast<double>(K))) * largest(want) + 1e-30;
}

TEST(Moe, MatchesReferenceOnRaggedShapes) {
  Random random(1);
  const int64_t sizes[] = {0, 1, 2, 17, 63, 64, 65, 128, 200};
  for (int trial = 0; trial < 36; ++trial) {
    const int64_t T = sizes[trial % 9];
    const int64_t D = 2 * random.below(36) + 1, F = 2 * random.below(36) + 1;
    Layer layer(random_config(random), D, F, static_cast<uint64_t>(trial));
    const Step step{.x = clear_tokens(layer, random, T, 1e-5)};
    const std::vector<double> want = reference(layer, step.x);
    const std::string what = describe(layer, T);
    const Outcome got = run(layer, step, 2, false);
    test::expect_near(got.y, want, tolerance(want, D + F), what);
    test::expect_same_bits(run(layer, step, 2, true).y, got.y, what + ", with a tape");
  }
}

TEST(Moe, GradientsMatchTheDoubleReference) {
  Random random(2);
  for (int trial = 0; trial < 24; ++trial) {
    const int64_t D = random.between(1, 45), F = random.between(1, 45);
    const int32_t T = static_cast<int32_t>(random.between(1, 120));
    const int32_t cut = static_cast<int32_t>(random.below(T + 1));
    Layer layer(random_config(random), D, F, static_cast<uint64_t>(100 + trial));
    const Step step{.x = clear_tokens(layer, random, T, 1e-5),
                    .dy = test::random_normal(random, T * D),
                    .offsets = {0, cut, cut, T},  // one row is empty
                    .balance_scale = trial % 3 == 0 ? 0.0f : 0.3f,
                    .held_dx = trial % 2 == 0 ? std::vector<float>{} : test::random_normal(random, T * D)};
    const Outcome got = run(layer, step);
    ReferenceGradients want = reference_gradients(layer, step);
    for (size_t i = 0; i < step.held_dx.size(); ++i) want.x[i] += static_cast<double>(step.held_dx[i]);
    const std::string what = describe(layer, T);
    test::expect_near(got.dx, want.x, tolerance(want.x, D + F), what + ": dx");
    const std::vector<float> gradients = layer.gradients();
    test::expect_near(gradients, want.parameters, tolerance(want.parameters, T + D + F),
                      what + ": parameters");
    // The router is compared on its own scale, because its gradients may be far smaller than those of the
    // experts.
    const auto router = static_cast<size_t>(layer.E() * D);
    want.parameters.resize(router);
    test::expect_near(std::span(gradients).first(router), want.parameters,
                      tolerance(want.parameters, T + D + F) + 4 * kEps * T, what + ": router");
    if (step.balance_scale != 0) {
      const double loss =
          ref::balance_loss(step.x.data(), layer.router(), layer.bias_values(), layer.w.config,
                            step.offsets.data(), 3, static_cast<double>(step.balance_scale), D);
      EXPECT_NEAR(got.loss, loss, 1e-5 * loss) << what;
    }
  }
}

TEST(Moe, ReferenceGradientsMatchFiniteDifferences) {
  Random random(3);
  const MoeConfig configs[] = {
      {.experts = 6, .active = 2, .routed_scaling = 1.5f},
      {.experts = 8, .active = 3, .groups = 4, .top_groups = 2, .routed_scaling = 2.5f},
      {.experts = 4, .active = 2, .norm_topk = false},
      {.experts = 6, .active = 2, .routed_scaling = 1.5f, .score = RouterScore::softmax},
      {.experts = 8,
       .active = 3,
       .groups = 4,
       .top_groups = 2,
       .norm_topk = false,
       .routed_scaling = 4.0f,
       .score = RouterScore::softmax,
       .group_rank = GroupRank::best}};
  for (const MoeConfig& config : configs) {
    Layer layer(config, 5, 3, 7 + static_cast<uint64_t>(config.experts));
    const int64_t T = 6, D = layer.D;
    Step step{.x = clear_tokens(layer, random, T, 0.02),
              .dy = test::random_normal(random, T * D),
              .offsets = {0, 2, static_cast<int32_t>(T)},
              .balance_scale = 0.7f};
    const auto loss = [&](const std::vector<float>& x) {
      return test::dot(reference(layer, x), step.dy) +
             ref::balance_loss(x.data(), layer.router(), layer.bias_values(), config, step.offsets.data(), 2,
                               static_cast<double>(step.balance_scale), D);
    };
    const ReferenceGradients got = reference_gradients(layer, step);
    test::expect_near_double(got.x, test::central_differences(step.x, loss), 2e-5, 1e-4, "dx");
    size_t at = 0;
    for (size_t i = 0; i < layer.all.size(); ++i) {
      const std::span<float> value = layer.parameter(i).value.values();
      const std::vector<float> start(value.begin(), value.end());
      const auto with = [&](const std::vector<float>& v) {
        std::copy(v.begin(), v.end(), value.begin());
        return loss(step.x);
      };
      const std::vector<double> want = test::central_differences(start, with);
      std::copy(start.begin(), start.end(), value.begin());
      test::expect_near_double(std::span(got.parameters).subspan(at, want.size()), want, 2e-5, 1e-4,
                               describe(layer, T) + ": parameter " + std::to_string(i));
      at += want.size();
    }
  }
}

TEST(Moe, BitsDoNotDependOnThreadsOrInstructionSet) {
  Random random(4);
  // 1100 tokens are two chunks with one thread (576 tokens each) and two threads (1088), and one chunk with
  // three.
  for (const int64_t T : {1, 65, 1100}) {
    // 23 experts are no multiple of a vector's width.
    for (const MoeConfig& config :
         {MoeConfig{.experts = 8, .active = 3, .groups = 4, .top_groups = 2, .routed_scaling = 2.5f},
          MoeConfig{.experts = 23, .active = 3, .score = RouterScore::softmax}}) {
      Layer layer(config, 37, 43, 11);
      const Step step{.x = test::random_normal(random, T * layer.D),
                      .dy = test::random_normal(random, T * layer.D),
                      .offsets = {0, static_cast<int32_t>(T / 3), static_cast<int32_t>(T)},
                      .balance_scale = 0.01f};
      const auto compute = [&](int threads) {
        layer.fill_gradients(0.25f);
        Outcome out = run(layer, step, threads);
        std::vector<float> all = out.y;
        test::append(all, out.dx);
        test::append(all, layer.gradients());
        all.push_back(static_cast<float>(out.loss));
        return all;
      };
      test::expect_one_answer(compute, describe(layer, T));
    }
  }
}

TEST(Moe, ATokenAloneEqualsTheTokenInABatch) {
  const int64_t T = 5000;
  Layer layer({.experts = 8, .active = 2, .routed_scaling = 2.5f}, 33, 21, 12);
  Random random(5);
  const Step batch{.x = test::random_normal(random, T * layer.D),
                   .dy = test::random_normal(random, T * layer.D)};
  const Outcome all = run(layer, batch);
  for (const int64_t t : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{64}, int64_t{2777}, T - 1}) {
    const auto row = [&](const std::vector<float>& v) {
      return std::vector<float>(v.begin() + t * layer.D, v.begin() + (t + 1) * layer.D);
    };
    const Outcome one = run(layer, {.x = row(batch.x), .dy = row(batch.dy)});
    test::expect_same_bits(one.y, row(all.y), "y of token " + std::to_string(t));
    test::expect_same_bits(one.dx, row(all.dx), "dx of token " + std::to_string(t));
    test::expect_same_bits(run(layer, {.x = row(batch.x)}, 1, false).y, one.y, "without a tape");
  }
}

TEST(Moe, ABatchCutInTwoGivesTheSameBits) {
  const int64_t T = 333, cut = 101;
  Layer layer({.experts = 6, .active = 2, .groups = 2, .top_groups = 2}, 29, 19, 13);
  Random random(6);
  const int64_t at = cut * layer.D;
  Step whole{.x = test::random_normal(random, T * layer.D),
             .dy = test::random_normal(random, T * layer.D),
             .offsets = {0, 40, static_cast<int32_t>(cut), static_cast<int32_t>(T)},
             .balance_scale = 0.02f};
  layer.fill_gradients(-0.5f);
  const Outcome once = run(layer, whole);
  const std::vector<float> gradients = layer.gradients();
  const auto part = [&](int64_t from, int64_t to, const std::vector<int32_t>& offsets) {
    return Step{.x = {whole.x.begin() + from, whole.x.begin() + to},
                .dy = {whole.dy.begin() + from, whole.dy.begin() + to},
                .offsets = offsets,
                .balance_scale = 0.02f};
  };
  layer.fill_gradients(-0.5f);
  Outcome two = run(layer, part(0, at, {0, 40, static_cast<int32_t>(cut)}));
  const Outcome rest = run(layer, part(at, T * layer.D, {0, static_cast<int32_t>(T - cut)}));
  test::append(two.y, rest.y);
  test::append(two.dx, rest.dx);
  test::expect_same_bits(two.y, once.y, "y");
  test::expect_same_bits(two.dx, once.dx, "dx");
  test::expect_same_bits(layer.gradients(), gradients, "accumulated parameter gradients");
}

TEST(Moe, AllTokensOnOneExpertAndEmptyExperts) {
  for (const int64_t active : {1, 2}) {
    Layer layer({.experts = 5, .active = active}, 21, 13, 14);
    layer.bias_values()[3] = 20;
    if (active == 2) layer.bias_values()[1] = 10;
    for (Weight* empty : {&layer.w.experts[0].gate, &layer.w.experts[4].down}) {
      for (float& v : empty->dense().value.values()) v = kNaN;  // an expert that no token chose is not read
      ++empty->dense().version;
    }
    Random random(7);
    const Step step{.x = test::random_normal(random, 90 * 21), .dy = test::random_normal(random, 90 * 21)};
    const Outcome got = run(layer, step);
    const std::vector<double> want = reference(layer, step.x);
    test::expect_near(got.y, want, tolerance(want, 34), "y");
    const ReferenceGradients gradients = reference_gradients(layer, step);
    test::expect_near(got.dx, gradients.x, tolerance(gradients.x, 34), "dx");
    test::expect_near(layer.gradients(), gradients.parameters, tolerance(gradients.parameters, 90),
                      "parameters");
  }
}

TEST(Moe, NoTokensIsNoCrash) {
  Layer layer({.experts = 4, .active = 2}, 5, 3, 15);
  const Step step{.offsets = {0, 0, 0}, .balance_scale = 1};
  EXPECT_TRUE(run(layer, step, 1, false).y.empty() && run(layer, step, 2, true).y.empty());
  for (const float g : layer.gradients()) EXPECT_EQ(g, 0.0f);
}

TEST(Moe, FrozenWeightsChangeNoOtherGradient) {
  Random random(8);
  const MoeConfig config{.experts = 4, .active = 2};
  Layer trained(config, 9, 7, 16), frozen(config, 9, 7, 16, 0.0f, false);
  const Step step{.x = test::random_normal(random, 20 * 9), .dy = test::random_normal(random, 20 * 9)};
  test::expect_same_bits(run(frozen, step).dx, run(trained, step).dx, "dx");
}

TEST(Moe, BalanceLossReachesTheRouterWithoutAGradientOfY) {
  Random random(9);
  Layer layer({.experts = 4, .active = 2}, 9, 7, 17);
  Step step{.x = clear_tokens(layer, random, 20, 1e-4), .offsets = {0, 20}, .balance_scale = 0.5f};
  const ReferenceGradients want = reference_gradients(layer, step);
  EXPECT_GT(largest(want.x), 1e-3);
  test::expect_near(run(layer, step).dx, want.x, tolerance(want.x, 16), "dx");
  test::expect_near(layer.gradients(), want.parameters, tolerance(want.parameters, 20), "parameters");
  step.held_dx.assign(20 * 9, 0.5f);
  std::vector<double> onto = want.x;
  for (double& v : onto) v += 0.5;
  test::expect_near(run(layer, step).dx, onto, tolerance(onto, 16), "dx on top of another op's");
}

// ---- routing alone ----

struct Routed {
  std::vector<int32_t> experts, tokens;
  std::vector<float> weights;
  std::vector<int64_t> starts;
  int64_t chunk = 0;
};

Routed route_of(const Layer& layer, const std::vector<float>& x) {
  test::OpRun op(false);
  const Routing r = route(op.ctx, op.input({static_cast<int64_t>(x.size()) / layer.D, layer.D}, x), layer.w);
  return {{r.experts, r.experts + r.slots()},
          {r.tokens, r.tokens + r.slots()},
          {r.weights, r.weights + r.slots()},
          {r.starts, r.starts + r.chunks() * (r.E + 1)},
          r.chunk};
}

void expect_routing_of_the_reference(const Layer& layer, const std::vector<float>& x) {
  const int64_t T = static_cast<int64_t>(x.size()) / layer.D, A = layer.w.config.active;
  const Routed got = route_of(layer, x);
  std::vector<int32_t> experts(static_cast<size_t>(T * A));
  std::vector<double> weights(experts.size());
  for (int64_t t = 0; t < T; ++t) {
    ref::route(x.data() + t * layer.D, layer.router(), layer.bias_values(), layer.w.config, layer.D,
               experts.data() + t * A, weights.data() + t * A);
  }
  ASSERT_EQ(got.experts, experts) << describe(layer, T);
  test::expect_near(got.weights, weights, tolerance(weights, layer.D), describe(layer, T));
  std::vector<int32_t> sorted;
  std::vector<int64_t> starts;
  for (int64_t begin = 0; begin < T; begin += got.chunk) {
    for (int64_t e = 0; e <= layer.E(); ++e) {
      starts.push_back(static_cast<int64_t>(sorted.size()) - begin * A);
      for (int64_t slot = begin * A; slot < std::min(T, begin + got.chunk) * A; ++slot) {
        if (experts[static_cast<size_t>(slot)] == e) sorted.push_back(static_cast<int32_t>(slot / A));
      }
    }
  }
  ASSERT_EQ(got.starts, starts) << describe(layer, T);
  ASSERT_EQ(got.tokens, sorted) << describe(layer, T);
}

TEST(MoeRouting, MatchesReferenceAndSortsByExpertThenToken) {
  Random random(20);
  for (int trial = 0; trial < 40; ++trial) {
    Layer layer(random_config(random), random.between(1, 40), 1, static_cast<uint64_t>(200 + trial));
    expect_routing_of_the_reference(layer, clear_tokens(layer, random, random.between(1, 150), 1e-5));
  }
  const MoeConfig many{.experts = 128, .active = 8, .groups = 8, .top_groups = 4, .routed_scaling = 2.5f};
  Layer layer(many, 16, 128, 250);
  expect_routing_of_the_reference(layer, clear_tokens(layer, random, 4500, 1e-6));  // several chunks
}

TEST(MoeRouting, TiesGoToTheLowerIndex) {
  Layer layer({.experts = 8, .active = 3, .groups = 4, .top_groups = 2}, 3, 1, 21);
  for (float& v : layer.w.router.dense().value.values()) v = 0;  // every score is 1/2
  ++layer.w.router.dense().version;
  std::fill_n(layer.bias_values(), 8, 0.0f);
  EXPECT_EQ(route_of(layer, {1, 2, 3}).experts, (std::vector<int32_t>{0, 1, 2}));
  layer.bias_values()[6] = layer.bias_values()[7] = 0.5f;  // group 3 comes first, and group 0 wins the tie
  EXPECT_EQ(route_of(layer, {1, 2, 3}).experts, (std::vector<int32_t>{0, 6, 7}));
}

TEST(MoeRouting, BiasMovesTheSelectionButNotTheWeights) {
  Layer layer({.experts = 6, .active = 2, .routed_scaling = 1.5f}, 7, 1, 22);
  Random random(10);
  std::fill_n(layer.bias_values(), 6, 0.0f);
  const std::vector<float> x = clear_tokens(layer, random, 1, 1e-3);
  const Routed plain = route_of(layer, x);
  std::fill_n(layer.bias_values(), 6, 0.75f);
  const Routed shifted = route_of(layer, x);
  EXPECT_EQ(shifted.experts, plain.experts);
  test::expect_same_bits(shifted.weights, plain.weights, "weights under the same bias for all");
  std::fill_n(layer.bias_values(), 6, 0.0f);
  for (const int32_t e : {1, 4}) layer.bias_values()[e] = 5;
  const Routed moved = route_of(layer, x);
  EXPECT_EQ(moved.experts, (std::vector<int32_t>{1, 4}));
  const auto score = [&](int64_t e) {
    double z = 0;
    for (size_t d = 0; d < 7; ++d)
      z += static_cast<double>(x[d]) * layer.router()[e * 7 + static_cast<int64_t>(d)];
    return 1 / (1 + std::exp(-z));
  };
  const double s[2] = {score(1), score(4)};
  EXPECT_NEAR(moved.weights[0], 1.5 * s[0] / (s[0] + s[1]), 1e-6);
  EXPECT_NEAR(moved.weights[1], 1.5 * s[1] / (s[0] + s[1]), 1e-6);
}

TEST(MoeRouting, LeftOutGroupsAreNeverSelectedEvenWhereBiasedScoresAreNegative) {
  Layer layer({.experts = 6, .active = 3, .groups = 2, .top_groups = 1}, 3, 1, 23);
  const float bias[] = {-9, -8, -7, -2, -3, -4};
  std::copy_n(bias, 6, layer.bias_values());
  EXPECT_EQ(route_of(layer, {0.5f, -1, 2}).experts, (std::vector<int32_t>{3, 4, 5}));
}

TEST(MoeRouting, SaturatedAndBrokenScoresAreDefined) {
  Layer layer({.experts = 4, .active = 2}, 1, 1, 24);
  const float rows[] = {-1, -2, -3, -4};
  std::copy_n(rows, 4, layer.w.router.dense().value.f32());
  ++layer.w.router.dense().version;
  std::fill_n(layer.bias_values(), 4, 0.0f);
  const Routed saturated = route_of(layer, {1e4f});  // every score is 0
  EXPECT_EQ(saturated.experts, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(saturated.weights, (std::vector<float>{0, 0}));
  EXPECT_TRUE(std::isnan(route_of(layer, {kNaN}).weights[1]));
  layer.w.router.dense().value.f32()[3] = kNaN;
  ++layer.w.router.dense().version;
  EXPECT_EQ(route_of(layer, {1.0f}).experts, (std::vector<int32_t>{0, 3}));  // NaN weights must show
}

// Returns ((i * a + b) mod 67 - 33) / scale, numbers that one line of Python can make too.
std::vector<float> pattern(int64_t n, int64_t a, int64_t b, double scale, double shift = 0) {
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<float>(static_cast<double>((i * a + b) % 67 - 33) / scale + shift));
  return out;
}

// Values computed by transformers 5.23.0 (DeepseekV3TopkRouter's selection, DeepseekV3Experts in float64).
// Some selected biased scores are negative, so a mask of 0 instead of -infinity would choose other experts.
TEST(Moe, AgreesWithTransformers) {
  Layer layer({.experts = 8, .active = 3, .groups = 4, .top_groups = 2, .routed_scaling = 2.5f}, 6, 4, 25);
  const auto set = [](Parameter& p, const std::vector<float>& values) {
    std::copy(values.begin(), values.end(), p.value.f32());
    ++p.version;
  };
  set(layer.w.router.dense(), pattern(48, 29, 5, 20));
  set(layer.bias->p, pattern(8, 31, 12, 30, -0.9));
  const std::vector<float> gate_up = pattern(8 * 8 * 6, 23, 7, 32), down = pattern(8 * 24, 41, 3, 32);
  for (int64_t e = 0; e < 8; ++e) {
    const Expert& expert = layer.w.experts[static_cast<size_t>(e)];
    set(expert.gate.dense(), {gate_up.begin() + e * 48, gate_up.begin() + e * 48 + 24});
    set(expert.up.dense(), {gate_up.begin() + e * 48 + 24, gate_up.begin() + e * 48 + 48});
    set(expert.down.dense(), {down.begin() + e * 24, down.begin() + e * 24 + 24});
  }
  const std::vector<float> x = pattern(30, 37, 11, 24);
  EXPECT_EQ(route_of(layer, x).experts, (std::vector<int32_t>{1, 6, 7, 1, 6, 7, 1, 6, 7, 1, 6, 7, 3, 6, 7}));
  const std::vector<double> want = {0.246601127,   -0.121292525,  0.127922053,   -0.121909419, -0.130709348,
                                    -0.0794033876, -0.252729283,  0.124299482,   -0.151065724, 0.0554725172,
                                    -0.129731835,  0.344471089,   2.5294802,     -0.23392802,  0.541975059,
                                    -0.0807708422, 1.37968454,    -1.84713951,   0.172401672,  -0.0850231646,
                                    0.169580512,   -0.0960024004, -0.0187018925, -0.190066491, 1.71694613,
                                    1.42372916,    -1.74343072,   5.41775069,    -5.51045307,  -1.08387021};
  test::expect_near(run(layer, {.x = x}, 2, false).y, want, 4e-6, "y");
  test::expect_near_double(reference(layer, x), want, 1e-6, 1e-6, "the reference's y");
}

TEST(MoeBalance, BiasUpdatesEvenOutASkewedRouter) {
  Layer layer({.experts = 8, .active = 2}, 12, 2, 30);
  for (int64_t e = 0; e < 8; ++e) {  // component 0 is always 1 and favours the first experts
    layer.w.router.dense().value.f32()[e * 12] = 1.5f - 0.4f * static_cast<float>(e);
    layer.bias_values()[e] = 0;
  }
  ++layer.w.router.dense().version;
  Random random(11);
  const int64_t T = 512;
  const auto load = [&](MoeStats& stats) {  // max over mean, for one batch
    std::vector<float> x = test::random_normal(random, T * 12);
    for (int64_t t = 0; t < T; ++t) x[static_cast<size_t>(t * 12)] = 1;
    test::OpRun op(false);
    moe(op.ctx, {}, op.input({T, 12}, x), layer.w, {.stats = &stats});
    EXPECT_EQ(std::accumulate(stats.selected.begin(), stats.selected.end(), int64_t{0}), T * 2);
    return static_cast<double>(*std::max_element(stats.selected.begin(), stats.selected.end())) * 8 / (T * 2);
  };
  MoeStats stats;
  const double before = load(stats);
  double after = 0;
  for (int step = 0; step < 150; ++step) {
    test::OpRun op(false);
    update_selection_bias(op.ctx, layer.bias->p, stats, step < 75 ? 0.01f : 0.002f);
    after = load(stats);
  }
  std::printf("max load / mean load: %.2f before, %.2f after\n", before, after);
  EXPECT_GT(before, 2.0);
  EXPECT_LT(after, 1.3);
}

}  // namespace
}  // namespace r1
