// AdamW and the gradient norm compared with double precision, and their bits.
#include "ops/optim/optim.h"

#include "tests/ops/test_util.h"

namespace r1::optim_test {
namespace {
using namespace test;

struct State {
  State(int64_t n, uint64_t seed) : m({n}, DType::f32), v({n}, DType::f32) {
    Random random(seed);
    w = random_normal(random, n);
    for (int step = 0; step < 6; ++step) grads.push_back(random_normal(random, n, 0.01));
  }
  std::vector<float> w;
  std::vector<std::vector<float>> grads;
  Buffer m, v;
};

AdamW settings(int64_t step) {
  return {.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .step = step};
}

// Returns w, m, v after six steps over [begin, end) of the case.
std::vector<float> run(int64_t n, uint64_t seed, int threads, int64_t begin, int64_t end) {
  const State s(n, seed);
  const auto part = [&](const std::vector<float>& v) {
    return std::span<const float>(v).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  };
  OpRun r(false, threads);
  OwnedParameter p({end - begin}, part(s.w));
  Buffer m({end - begin}, DType::f32), v({end - begin}, DType::f32);
  for (size_t step = 0; step < s.grads.size(); ++step) {
    const auto g = part(s.grads[step]);
    std::copy(g.begin(), g.end(), p.p.grad.f32());
    adamw_update(r.ctx, p.p, m.tensor(), v.tensor(), settings(static_cast<int64_t>(step) + 1), 0.5f);
  }
  EXPECT_EQ(p.p.version, 1 + s.grads.size());
  std::vector<float> out = to_vector(p.p.value);
  append(out, m.tensor().values());
  append(out, v.tensor().values());
  return out;
}

TEST(AdamW, MatchesReferenceOverSteps) {
  for (const int64_t n : {1, 7, 16, 31, 1000}) {
    const State s(n, static_cast<uint64_t>(n));
    std::vector<double> w(s.w.begin(), s.w.end()), m(w.size()), v(w.size());
    for (size_t step = 0; step < s.grads.size(); ++step) {
      ref::adamw(w.data(), s.grads[step].data(), m.data(), v.data(), n,
                 settings(static_cast<int64_t>(step) + 1), 0.5);
    }
    const std::vector<float> got = run(n, static_cast<uint64_t>(n), 2, 0, n);
    const std::span<const float> all(got);
    const size_t size = static_cast<size_t>(n);
    // w moves by lr per step. The step has a handful of roundings (m may cancel), and w has one.
    expect_near_by(
        all.subspan(0, size), w,
        [&](size_t i) { return 6 * (2 * kEps * (std::fabs(w[i]) + 0.1) + 0.01 * 64 * kEps); }, "w");
    expect_near(all.subspan(size, size), m, 0.05 * 24 * kEps, "m");
    expect_near_by(
        all.subspan(2 * size), v, [&](size_t i) { return 40 * kEps * v[i] + 1e-30; }, "v");
  }
}

TEST(AdamW, FirstStepMovesByTheLearningRateAndDecays) {
  OwnedParameter p({2}, std::vector<float>{1.0f, -2.0f});
  p.p.grad.f32()[0] = 1e-3f;
  p.p.grad.f32()[1] = -5.0f;
  Buffer m({2}, DType::f32), v({2}, DType::f32);
  OpRun r(false, 1);
  adamw_update(r.ctx, p.p, m.tensor(), v.tensor(), {.lr = 0.1f, .weight_decay = 0.5f, .step = 1}, 1.0f);
  EXPECT_NEAR(p.p.value.f32()[0], 1.0 - 0.1 * (1.0 + 0.5), 1e-5);
  EXPECT_NEAR(p.p.value.f32()[1], -2.0 - 0.1 * (-1.0 - 1.0), 1e-5);
  EXPECT_EQ(p.p.version, 2u);
}

TEST(AdamW, ZeroGradientAndZeroStateLeaveTheWeightAlone) {
  OwnedParameter p({3}, std::vector<float>{1.0f, -2.0f, 0.0f});
  Buffer m({3}, DType::f32), v({3}, DType::f32);
  OpRun r(false, 1);
  adamw_update(r.ctx, p.p, m.tensor(), v.tensor(), {.step = 1000000}, 1.0f);
  expect_same_bits(p.p.value.values(), std::vector<float>{1.0f, -2.0f, 0.0f}, "w");
}

TEST(AdamW, SameBitsForThreadsInstructionSetsAndCuts) {
  const int64_t n = 20011;
  const std::vector<float> whole = run(n, 3, 1, 0, n);
  expect_one_answer([&](int threads) { return run(n, 3, threads, 0, n); }, "adamw");
  const int64_t cut = 4567;
  const std::vector<float> first = run(n, 3, 2, 0, cut), second = run(n, 3, 2, cut, n);
  std::vector<float> joined;
  for (size_t part = 0; part < 3; ++part) {
    const size_t a = static_cast<size_t>(cut), b = static_cast<size_t>(n - cut);
    append(joined, std::span<const float>(first).subspan(part * a, a));
    append(joined, std::span<const float>(second).subspan(part * b, b));
  }
  expect_same_bits(joined, whole, "cut");
}

// Computes the norm in the order that the header promises.
double norm_by_definition(std::span<const std::vector<float>> gradients) {
  double sum = 0;
  for (const auto& g : gradients) {
    for (size_t block = 0; block < g.size(); block += 4096) {
      double lane[16] = {};
      for (size_t i = block; i < std::min(g.size(), block + 4096); ++i) {
        lane[(i - block) % 16] =
            std::fma(static_cast<double>(g[i]), static_cast<double>(g[i]), lane[(i - block) % 16]);
      }
      for (size_t apart = 8; apart > 0; apart /= 2) {
        for (size_t l = 0; l < apart; ++l) lane[l] += lane[l + apart];
      }
      sum += lane[0];
    }
  }
  return std::sqrt(sum);
}

TEST(GradientNorm, FollowsItsFixedOrderForAnyThreadsAndInstructionSet) {
  Random random(8);
  std::vector<std::vector<float>> gradients;
  std::vector<std::unique_ptr<OwnedParameter>> owned;
  std::vector<Parameter*> parameters;
  double plain = 0;
  for (const int64_t n : {1, 15, 16, 17, 4095, 4096, 4097, 100000, 4096 * 1024 + 37}) {
    gradients.emplace_back(static_cast<size_t>(n));
    for (float& g : gradients.back()) g = random.uniform() - 0.5f;
    owned.push_back(std::make_unique<OwnedParameter>(Shape({n}), std::span<const float>()));
    std::copy(gradients.back().begin(), gradients.back().end(), owned.back()->p.grad.f32());
    parameters.push_back(&owned.back()->p);
    for (const float g : gradients.back()) plain += static_cast<double>(g) * g;
  }
  OwnedParameter frozen({5}, std::vector<float>(5, 1e30f), false);
  parameters.push_back(&frozen.p);
  const double want = norm_by_definition(gradients);
  EXPECT_NEAR(want, std::sqrt(plain), 1e-9 * want);
  for (const int threads : {1, 2, 3}) {
    OpRun r(false, threads);
    EXPECT_EQ(gradient_norm(r.ctx, parameters), want) << threads;
  }
  if (WithoutAvx512::machine_has_it()) {
    const WithoutAvx512 guard;
    OpRun r(false, 2);
    EXPECT_EQ(gradient_norm(r.ctx, parameters), want) << "AVX2";
  }
  OpRun r(false, 1);
  EXPECT_EQ(gradient_norm(r.ctx, {}), 0.0);
}

TEST(ZeroGradients, ClearsEveryGradientAndPassesFrozenParameters) {
  for (const int threads : {1, 3}) {
    OpRun r(false, threads);
    OwnedParameter a({3, 5}, {}, true, 1.0f), b({4097}, {}, true, kNaN);
    OwnedParameter frozen({2}, std::vector<float>{1.0f, 2.0f}, false);
    Parameter* const all[] = {&a.p, &frozen.p, &b.p};
    zero_gradients(r.ctx, all);
    expect_same_bits(a.p.grad.values(), std::vector<float>(15, 0.0f), "a");
    expect_same_bits(b.p.grad.values(), std::vector<float>(4097, 0.0f), "b");
    expect_same_bits(frozen.p.value.values(), std::vector<float>{1.0f, 2.0f}, "frozen");
    zero_gradients(r.ctx, {});
  }
}

}  // namespace
}  // namespace r1::optim_test
