// Rotary embedding compared with the double reference, the reference compared with finite differences, and
// the bits.
#include "ops/rope/rope.h"

#include "tests/ops/test_util.h"

namespace r1::rope_test {
namespace {
using namespace test;

std::vector<float> frequencies(int64_t P) {
  std::vector<float> out;
  for (int64_t i = 0; i < P / 2; ++i) {
    out.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(P))));
  }
  return out;
}

struct Case {
  Case(int64_t t, int64_t h, int64_t k, int64_t p, RopeStyle s) : T(t), H(h), K(k), P(p), style(s) {
    Random random(static_cast<uint64_t>(t * 10000 + h * 1000 + k * 10 + p));
    x = random_normal(random, T * H * K);
    dy = random_normal(random, T * H * K);
    for (int64_t i = 0; i < T; ++i) positions.push_back(static_cast<int32_t>(random.below(kPositions)));
  }
  static constexpr int64_t kPositions = 300;
  int64_t T, H, K, P;
  RopeStyle style;
  std::vector<float> x, dy;
  std::vector<int32_t> positions;
};

std::vector<float> run(const Case& c, const RopeTable& table, int threads, bool twice = false) {
  OpRun r(true, threads);
  const Tensor x = r.input({c.T, c.H, c.K}, c.x);
  std::vector<float> dx;
  r.want(x, &dx);
  const Tensor y = rope(r.ctx, x, c.positions, table, c.style);
  r.seed(y, c.dy);
  if (twice) r.seed(rope(r.ctx, x, c.positions, table, c.style), c.dy);
  std::vector<float> out = to_vector(y);
  r.backward();
  append(out, dx);
  return out;
}

constexpr RopeStyle kStyles[] = {RopeStyle::interleaved, RopeStyle::half};
constexpr float kFactor = 1.25f;

TEST(Rope, MatchesReferenceForBothStylesAndOffsets) {
  for (const RopeStyle style : kStyles) {
    for (const int64_t P : {2, 6, 14, 16, 18, 32, 64, 66}) {
      for (const int64_t still : {0, 1, 5, 64}) {
        const Case c(5, 3, P + still, P, style);
        const std::vector<float> freq = frequencies(P);
        const RopeTable table(freq, kFactor, Case::kPositions);
        const size_t n = c.x.size();
        std::vector<double> y(n), dx(n);
        ref::rope(c.x.data(), c.positions.data(), freq.data(), kFactor, c.T, c.H, c.K, P, style, false,
                  y.data());
        ref::rope(c.dy.data(), c.positions.data(), freq.data(), kFactor, c.T, c.H, c.K, P, style, true,
                  dx.data());
        const std::vector<float> got = run(c, table, 2);
        const std::string what = "P " + std::to_string(P) + " still " + std::to_string(still);
        // Two products of rounded sines (2 roundings each) and two more roundings; |x| < 6.
        const double tolerance = 6 * kEps * 2 * 6 * kFactor;
        expect_near(std::span<const float>(got).subspan(0, n), y, tolerance, what + " y");
        expect_near(std::span<const float>(got).subspan(n), dx, tolerance, what + " dx");
      }
    }
  }
}

TEST(Rope, ReferenceBackwardMatchesDifferences) {
  for (const RopeStyle style : kStyles) {
    const Case c(2, 2, 9, 6, style);
    const std::vector<float> freq = frequencies(6);
    std::vector<double> dx(c.x.size());
    ref::rope(c.dy.data(), c.positions.data(), freq.data(), 1.5, 2, 2, 9, 6, style, true, dx.data());
    const auto loss = [&](const std::vector<float>& x) {
      std::vector<double> y(x.size());
      ref::rope(x.data(), c.positions.data(), freq.data(), 1.5, 2, 2, 9, 6, style, false, y.data());
      return dot(y, c.dy);
    };
    expect_near_double(dx, central_differences(c.x, loss), 1e-9, 1e-9, "dx");
  }
}

TEST(Rope, TableIsRightToRoundingAtLongPositions) {
  const std::vector<float> freq = frequencies(32);
  const int64_t positions = 131072;
  const RopeTable table(freq, 1.0f, positions);
  for (int64_t p = 0; p < positions; p += 97) {
    for (size_t i = 0; i < freq.size(); ++i) {
      const double angle = static_cast<float>(p) * freq[i];
      ASSERT_NEAR(table.cosines(p)[i], std::cos(angle), 1.01 * kEps) << p << " " << i;
      ASSERT_NEAR(table.sines(p)[i], std::sin(angle), 1.01 * kEps) << p << " " << i;
    }
  }
  EXPECT_EQ(table.width(), 32);
  EXPECT_EQ(table.cosines(0)[3], 1.0f);
  EXPECT_EQ(table.sines(0)[3], 0.0f);
}

TEST(Rope, AnyContextCostsNothingUntilItsPositionsAreUsed) {
  const std::vector<float> freq = frequencies(64);
  const RopeTable wide(freq, 1.25f, int64_t{1} << 30), narrow(freq, 1.25f, 1000);
  // Threads that request the same new positions at the same time read the same numbers.
  ThreadPool threads(4);
  threads.parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (size_t i = 0; i < freq.size(); ++i) {
        ASSERT_EQ(wide.cosines(p)[i], narrow.cosines(p)[i]);
        ASSERT_EQ(wide.sines(p)[i], narrow.sines(p)[i]);
      }
    }
  });
  const int64_t far = (int64_t{1} << 30) - 1;
  EXPECT_NEAR(wide.cosines(far)[31], 1.25 * std::cos(static_cast<double>(static_cast<float>(far) * freq[31])),
              1e-6);
}

TEST(Rope, ScoresDependOnTheDistanceAlone) {
  // One pair has a frequency whose angles are exact. q at p + 3 is compared with k at p.
  const std::vector<float> freq = {0x1p-4f};
  const RopeTable table(freq, 1.0f, 200);
  std::vector<float> scores;
  for (const int32_t p : {0, 16, 100}) {
    OpRun r;
    const std::vector<int32_t> at = {p, p + 3};
    const Tensor y = rope(r.ctx, r.input({2, 1, 2}, std::vector<float>{0.5f, -1.0f, 2.0f, 0.25f}), at, table,
                          RopeStyle::interleaved);
    scores.push_back(y.f32()[0] * y.f32()[2] + y.f32()[1] * y.f32()[3]);
  }
  EXPECT_NEAR(scores[0], scores[1], 1e-6);
  EXPECT_NEAR(scores[0], scores[2], 1e-6);
}

TEST(Rope, SameBitsForThreadsInstructionSetsAndBatches) {
  for (const RopeStyle style : kStyles) {
    for (const int64_t P : {16, 22, 64}) {
      const Case c(301, 4, P + 3, P, style);
      const std::vector<float> freq = frequencies(P);
      const RopeTable table(freq, kFactor, Case::kPositions);
      expect_one_answer([&](int threads) { return run(c, table, threads); }, "rope");
      expect_one_answer([&](int threads) { return run(c, table, threads, true); }, "rope twice");
      const std::vector<float> all = run(c, table, 2);
      const int64_t row = c.H * c.K;
      for (const int64_t t : {int64_t{0}, int64_t{150}, int64_t{300}}) {
        Case one = c;
        one.T = 1;
        one.positions = {c.positions[static_cast<size_t>(t)]};
        one.x.assign(c.x.begin() + t * row, c.x.begin() + (t + 1) * row);
        one.dy.assign(c.dy.begin() + t * row, c.dy.begin() + (t + 1) * row);
        const std::vector<float> got = run(one, table, 1);
        std::vector<float> want(all.begin() + t * row, all.begin() + (t + 1) * row);
        const int64_t base = c.T * row + t * row;
        want.insert(want.end(), all.begin() + base, all.begin() + base + row);
        expect_same_bits(got, want, "alone");
      }
    }
  }
}

TEST(Rope, RefusesPositionsPastTheTableAndTakesNoTokens) {
  OpRun r;
  const std::vector<float> freq = frequencies(4);
  const RopeTable table(freq, 1.0f, 10);
  const std::vector<int32_t> beyond = {10}, negative = {-1};
  const Tensor x = r.input({1, 1, 4}, std::vector<float>(4, 1.0f));
  EXPECT_THROW(rope(r.ctx, x, beyond, table, RopeStyle::half), BrokenInvariant);
  EXPECT_THROW(rope(r.ctx, x, negative, table, RopeStyle::half), BrokenInvariant);
  EXPECT_THROW(rope(r.ctx, x, {}, table, RopeStyle::half), BrokenInvariant);
  EXPECT_EQ(rope(r.ctx, r.input({0, 2, 4}, {}), {}, table, RopeStyle::half).count(), 0);
}

}  // namespace
}  // namespace r1::rope_test
