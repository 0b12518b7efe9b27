// SwiGLU compared with the double reference, the reference compared with finite differences, and the bits.
#include "ops/swiglu/swiglu.h"

#include "tests/ops/test_util.h"

namespace r1::swiglu_test {
namespace {
using namespace test;

struct Case {
  Case(int64_t t, int64_t f, uint64_t seed) : T(t), F(f) {
    Random random(seed);
    gate = random_normal(random, T * F, 4.0);
    up = random_normal(random, T * F);
    dy = random_normal(random, T * F);
  }
  int64_t T, F;
  std::vector<float> gate, up, dy;
};

std::vector<float> run(const Case& c, int threads, bool twice = false) {
  OpRun r(true, threads);
  const Tensor gate = r.input({c.T, c.F}, c.gate), up = r.input({c.T, c.F}, c.up);
  std::vector<float> dgate, dup;
  r.want(gate, &dgate);
  r.want(up, &dup);
  const Tensor y = swiglu(r.ctx, gate, up);
  r.seed(y, c.dy);
  if (twice) r.seed(swiglu(r.ctx, gate, up), c.dy);
  std::vector<float> out = to_vector(y);
  r.backward();
  append(out, dgate);
  append(out, dup);
  return out;
}

TEST(SwiGlu, MatchesReferenceOnRaggedShapes) {
  for (const int64_t F : {1, 7, 15, 16, 17, 33, 128, 1001}) {
    const Case c(5, F, static_cast<uint64_t>(F));
    const size_t n = c.gate.size();
    std::vector<double> y(n), dgate(n), dup(n);
    ref::swiglu(c.gate.data(), c.up.data(), static_cast<int64_t>(n), y.data());
    ref::swiglu_backward(c.gate.data(), c.up.data(), c.dy.data(), static_cast<int64_t>(n), dgate.data(),
                         dup.data());
    const std::vector<float> got = run(c, 2);
    const std::span<const float> all(got);
    const auto relative = [](const std::vector<double>& want) {
      return [&want](size_t i) { return 8 * kEps * std::fabs(want[i]) + 1e-37; };
    };
    expect_near_by(all.subspan(0, n), y, relative(y), "y");
    expect_near_by(all.subspan(2 * n), dup, relative(dup), "dup");
    // 1 - s and 1 + gate (1 - s) cancel: the error is relative to their terms.
    const auto slope = [&](size_t i) {
      const double g = c.gate[i], s = 1 / (1 + std::exp(-g));
      return 8 * kEps * std::fabs(static_cast<double>(c.dy[i]) * c.up[i] * s) * (1 + std::fabs(g)) + 1e-37;
    };
    expect_near_by(all.subspan(n, n), dgate, slope, "dgate");
  }
}

TEST(SwiGlu, ReferenceGradientsMatchDifferences) {
  const Case c(2, 9, 3);
  const int64_t n = 18;
  const auto loss = [&](std::span<const float> gate, std::span<const float> up) {
    std::vector<double> y(18);
    ref::swiglu(gate.data(), up.data(), n, y.data());
    return dot(y, c.dy);
  };
  std::vector<double> dgate(18), dup(18);
  ref::swiglu_backward(c.gate.data(), c.up.data(), c.dy.data(), n, dgate.data(), dup.data());
  expect_near_double(dgate, central_differences(c.gate, [&](const auto& g) { return loss(g, c.up); }), 1e-5,
                     1e-5, "dgate");
  expect_near_double(dup, central_differences(c.up, [&](const auto& u) { return loss(c.gate, u); }), 1e-5,
                     1e-5, "dup");
}

TEST(SwiGlu, SameBitsForThreadsInstructionSetsAndPlaces) {
  const Case c(77, 613, 4);
  expect_one_answer([&](int threads) { return run(c, threads); }, "swiglu");
  expect_one_answer([&](int threads) { return run(c, threads, true); }, "swiglu twice");
  const std::vector<float> all = run(c, 2);
  for (const size_t i : {size_t{0}, size_t{17}, c.gate.size() - 1}) {
    Case one(1, 1, 0);
    one.gate = {c.gate[i]};
    one.up = {c.up[i]};
    one.dy = {c.dy[i]};
    const std::vector<float> want = {all[i], all[c.gate.size() + i], all[2 * c.gate.size() + i]};
    expect_same_bits(run(one, 1), want, "alone");
  }
}

TEST(SwiGlu, ExtremeGatesStayFinite) {
  Case c(1, 6, 0);
  c.gate = {-3e38f, -100.0f, -89.0f, 89.0f, 100.0f, 1e30f};
  c.up = {1, 1, 1, 1, 1, 1};
  c.dy = c.up;
  const std::vector<float> got = run(c, 1);
  for (const float v : got) EXPECT_TRUE(std::isfinite(v)) << v;
  EXPECT_EQ(got[0], 0.0f);
  EXPECT_EQ(got[4], 100.0f);
  EXPECT_EQ(got[6 + 4], 1.0f);
}

TEST(SwiGlu, BackwardMayOverwriteItsInputs) {
  Case c(3, 37, 8);
  const std::vector<float> want = run(c, 1);
  ThreadPool threads(2);
  const int64_t n = 3 * 37;
  swiglu_backward_into(threads, c.gate.data(), c.up.data(), c.dy.data(), n, c.gate.data(), c.up.data());
  const std::span<const float> w(want);
  expect_same_bits(c.gate, w.subspan(111, 111), "dgate in place");
  expect_same_bits(c.up, w.subspan(222, 111), "dup in place");
}

TEST(SwiGlu, OneInputMayBeConstantOrBoth) {
  OpRun r;
  const Tensor constant = r.arena.tensor({1, 2});
  constant.f32()[0] = 1.0f;
  constant.f32()[1] = -2.0f;
  const std::vector<float> values = {0.5f, 3.0f};
  const Tensor x = r.input({1, 2}, values);
  std::vector<float> dx;
  r.want(x, &dx);
  r.seed(swiglu(r.ctx, constant, x), values);
  r.seed(swiglu(r.ctx, x, x), values);  // d(g s g)/dg: both slots are the same memory
  const Tensor none = swiglu(r.ctx, r.input({0, 4}, {}), r.input({0, 4}, {}));
  r.seed(none, {});
  r.backward();
  std::vector<double> want(2);
  for (size_t i = 0; i < 2; ++i) {
    const double g = values[i], k = constant.f32()[i];
    const double s = 1 / (1 + std::exp(-g)), sk = 1 / (1 + std::exp(-k));
    want[i] = values[i] * k * sk + values[i] * (g * s * (1 + g * (1 - s)) + g * s);
  }
  expect_near(dx, want, 1e-5, "dx");
}

}  // namespace
}  // namespace r1::swiglu_test
