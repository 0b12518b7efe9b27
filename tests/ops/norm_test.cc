// RMSNorm compared with the double reference, the reference compared with finite differences, and the bits.
#include "ops/norm/norm.h"

#include "tests/ops/test_util.h"

namespace r1::norm_test {
namespace {
using namespace test;

constexpr float kNormEps = 1e-6f;
constexpr int64_t kWidths[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 127, 128, 200};
constexpr int64_t kRows[] = {1, 3, 4, 5, 17};

struct Case {
  Case(int64_t t, int64_t d, uint64_t seed) : T(t), D(d) {
    Random random(seed);
    x = random_normal(random, T * D, 2.0);
    w = random_normal(random, D);
    dy = random_normal(random, T * D);
  }
  int64_t T, D;
  std::vector<float> x, w, dy;
};

// Returns y, dx, dw, one after the other. With `twice`, x feeds two norms, so that dx accumulates.
std::vector<float> run(const Case& c, int threads, bool twice = false, float dw_start = 0.25f) {
  OpRun r(true, threads);
  OwnedParameter w({c.D}, c.w, true, dw_start);
  const Tensor x = r.input({c.T, c.D}, c.x);
  std::vector<float> dx;
  r.want(x, &dx);
  const Tensor y = rms_norm(r.ctx, x, w.p, kNormEps);
  r.seed(y, c.dy);
  if (twice) r.seed(rms_norm(r.ctx, x, w.p, kNormEps), c.dy);
  std::vector<float> out = to_vector(y);
  r.backward();
  append(out, dx);
  append(out, w.p.grad.values());
  return out;
}

TEST(RmsNorm, MatchesReferenceOnRaggedShapes) {
  for (const int64_t D : kWidths) {
    for (const int64_t T : kRows) {
      const Case c(T, D, static_cast<uint64_t>(T * 1000 + D));
      const size_t n = c.x.size();
      std::vector<double> y(n), dx(n), dw(static_cast<size_t>(D));
      ref::rms_norm(c.x.data(), c.w.data(), T, D, kNormEps, y.data());
      ref::rms_norm_backward(c.x.data(), c.w.data(), c.dy.data(), T, D, kNormEps, dx.data(), dw.data());
      const std::vector<float> got = run(c, 2, false, 0.0f);
      const std::span<const float> all(got);
      const std::string what = "T " + std::to_string(T) + " D " + std::to_string(D);
      // y: the sum has the error of D/16 + 5 roundings, which the root halves. Five more roundings follow.
      const double relative = kEps * (static_cast<double>(D) / 32.0 + 8.0);
      expect_near_by(
          all.subspan(0, n), y, [&](size_t i) { return relative * std::fabs(y[i]) + 1e-30; }, what);
      // dx = rstd (g - x k): errors are relative to the two terms, which can cancel.
      const auto dx_tolerance = [&](size_t i) {
        const size_t row = i / static_cast<size_t>(D) * static_cast<size_t>(D);
        double squares = 0, norm = 0;
        for (size_t d = 0; d < static_cast<size_t>(D); ++d) {
          squares += static_cast<double>(c.x[row + d]) * c.x[row + d];
          norm += std::fabs(static_cast<double>(c.dy[row + d]) * c.w[d] * c.x[row + d]);
        }
        const double rstd = 1.0 / std::sqrt(squares / static_cast<double>(D) + kNormEps);
        const size_t d = i - row;
        const double k = rstd * rstd * norm / static_cast<double>(D);
        return 4 * relative * rstd *
               (std::fabs(static_cast<double>(c.dy[i]) * c.w[d]) + std::fabs(c.x[i]) * k);
      };
      expect_near_by(all.subspan(n, n), dx, dx_tolerance, what + " dx");
      const auto dw_tolerance = [&](size_t d) {
        double sum = 0;
        for (size_t t = 0; t < static_cast<size_t>(T); ++t) {
          const size_t i = t * static_cast<size_t>(D) + d;
          sum += std::fabs(c.dy[i] * y[i] / c.w[d]);
        }
        return (relative + kEps * (static_cast<double>(T) + 4)) * sum + 1e-30;
      };
      expect_near_by(all.subspan(2 * n), dw, dw_tolerance, what + " dw");
    }
  }
}

TEST(RmsNorm, ReferenceGradientsMatchDifferences) {
  const Case c(3, 7, 5);
  const auto loss = [&](std::span<const float> x, std::span<const float> w) {
    std::vector<double> y(c.x.size());
    ref::rms_norm(x.data(), w.data(), c.T, c.D, 0.1, y.data());
    return dot(y, c.dy);
  };
  std::vector<double> dx(c.x.size()), dw(c.w.size());
  ref::rms_norm_backward(c.x.data(), c.w.data(), c.dy.data(), c.T, c.D, 0.1, dx.data(), dw.data());
  expect_near_double(dx, central_differences(c.x, [&](const auto& x) { return loss(x, c.w); }), 1e-5, 1e-5,
                     "dx");
  expect_near_double(dw, central_differences(c.w, [&](const auto& w) { return loss(c.x, w); }), 1e-5, 1e-5,
                     "dw");
}

TEST(RmsNorm, SameBitsForThreadsAndInstructionSets) {
  for (const int64_t D : {1, 16, 37, 128, 1000}) {
    const Case c(301, D, static_cast<uint64_t>(D));
    expect_one_answer([&](int threads) { return run(c, threads); }, "D " + std::to_string(D));
    expect_one_answer([&](int threads) { return run(c, threads, true); }, "twice, D " + std::to_string(D));
  }
}

TEST(RmsNorm, OneRowAloneEqualsItselfInABatch) {
  const Case c(50, 77, 9);
  const std::vector<float> all = run(c, 2);
  for (const int64_t t : {int64_t{0}, int64_t{13}, int64_t{49}}) {
    Case one = c;
    one.T = 1;
    const auto row = [&](const std::vector<float>& v, size_t base) {
      const auto at = v.begin() + static_cast<int64_t>(base) + t * c.D;
      return std::vector<float>(at, at + c.D);
    };
    one.x = row(c.x, 0);
    one.dy = row(c.dy, 0);
    const std::vector<float> got = run(one, 1);
    const std::span<const float> g(got);
    expect_same_bits(g.subspan(0, 77), row(all, 0), "y");
    expect_same_bits(g.subspan(77, 77), row(all, c.x.size()), "dx");
  }
}

TEST(RmsNorm, WeightGradientOfABatchCutInTwoIsTheSame) {
  const Case c(29, 45, 10);
  const std::vector<float> whole = run(c, 2);
  for (const int64_t cut : {1, 2, 6, 28}) {
    OwnedParameter w({c.D}, c.w, true, 0.25f);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, c.T}}) {
      OpRun r;
      const auto part = [&](const std::vector<float>& v) {
        return std::span<const float>(v).subspan(static_cast<size_t>(begin * c.D),
                                                 static_cast<size_t>((end - begin) * c.D));
      };
      r.seed(rms_norm(r.ctx, r.input({end - begin, c.D}, part(c.x)), w.p, kNormEps), part(c.dy));
      r.backward();
    }
    expect_same_bits(w.p.grad.values(), std::span<const float>(whole).subspan(2 * c.x.size()),
                     "cut at " + std::to_string(cut));
  }
}

TEST(RmsNorm, TakesNoRowsAndFrozenWeights) {
  OpRun r;
  OwnedParameter w({8}, std::vector<float>(8, 1.0f), false);
  const Tensor empty = rms_norm(r.ctx, r.input({0, 8}, {}), w.p, kNormEps);
  EXPECT_EQ(empty.count(), 0);
  r.seed(empty, {});
  std::vector<float> dx;
  const Tensor x = r.input({1, 2, 8}, std::vector<float>(16, 2.0f));
  r.want(x, &dx);
  const Tensor y = rms_norm(r.ctx, x, w.p, 0.0f);
  EXPECT_EQ(y.shape, x.shape);
  EXPECT_EQ(y.f32()[15], 1.0f);
  r.seed(y, std::vector<float>(16, 1.0f));
  r.backward();
  EXPECT_EQ(dx.size(), 16u);
  OwnedParameter wrong({7}, {});
  EXPECT_THROW(rms_norm(r.ctx, x, wrong.p, 0.0f), BrokenInvariant);
}

}  // namespace
}  // namespace r1::norm_test
