// ops/moe compared with the double reference and finite differences, and with itself to the bit.
#include "tests/ops/moe_util.h"

namespace r1::moe_test {
namespace {

using namespace test_moe;

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

}  // namespace
}  // namespace r1::moe_test
