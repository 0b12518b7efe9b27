// The router of ops/moe: selection, ties, groups, balance, and values of transformers.
#include "tests/ops/moe_util.h"

namespace r1::moe_routing_test {
namespace {

using namespace test_moe;

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
}  // namespace r1::moe_routing_test
