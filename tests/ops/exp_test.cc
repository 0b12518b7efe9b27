// The f32 exp of ops/simd: accuracy, edges, and scalar against vectors of every instruction set.
#include "ops/simd/exp.h"

#include <gtest/gtest.h>

#include "ops/simd/exp_vector.h"
#include "tests/ops/test_util.h"

namespace r1::exp_test {
namespace {
using test::kNaN;

std::vector<float> floats_by_bits(float from, float to, uint32_t stride) {
  std::vector<float> out;
  const uint32_t end = std::bit_cast<uint32_t>(to);
  for (uint32_t b = std::bit_cast<uint32_t>(from); b <= end; b += stride)
    out.push_back(std::bit_cast<float>(b));
  return out;
}

std::vector<float> whole_range(uint32_t stride) {
  std::vector<float> out = floats_by_bits(0.0f, 89.0f, stride);
  test::append(out, floats_by_bits(-0.0f, -88.0f, stride));
  return out;
}

std::vector<float> vector_exp(std::vector<float> x) {
  exp_array(x.data(), static_cast<int64_t>(x.size()), x.data());
  return x;
}

std::vector<float> scalar_exp(std::vector<float> x) {
  for (float& v : x) v = exp_f32(v);
  return x;
}

TEST(Exp, IsWithinOneUlpOverTheWholeRange) {
  double worst = 0;
  float where = 0;
  for (const float x : whole_range(1999)) {
    if (x > kExpHigh || x < kExpLow) continue;
    const double want = std::exp(static_cast<double>(x));
    const float rounded = static_cast<float>(want);
    const double ulp = std::ldexp(1.0, std::ilogb(rounded) - 23);
    const double error = std::fabs(exp_f32(x) - want) / ulp;
    if (!(error <= worst)) worst = error, where = x;
  }
  EXPECT_LT(worst, 1.0) << "at " << std::hexfloat << where;
  std::printf("worst error of exp: %.3f ulp\n", worst);
}

TEST(Exp, EdgesAreExact) {
  const float inf = std::numeric_limits<float>::infinity();
  const float above = std::nextafter(kExpHigh, inf), below = std::nextafter(kExpLow, -inf);
  const std::vector<float> x = {0.0f, -0.0f, kExpHigh, above,  kExpLow, below,
                                inf,  -inf,  1e30f,    -1e30f, 1e-40f};
  const std::vector<float> y = vector_exp(x);
  test::expect_same_bits(y, scalar_exp(x), "edges");
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_TRUE(std::isfinite(y[2])) << y[2];
  EXPECT_GT(y[2], 3.4e38f);
  EXPECT_EQ(y[3], inf);
  EXPECT_GE(y[4], std::numeric_limits<float>::min());
  EXPECT_EQ(y[5], 0.0f);
  EXPECT_EQ(y[6], inf);
  EXPECT_EQ(y[7], 0.0f);
  EXPECT_EQ(y[8], inf);
  EXPECT_EQ(y[9], 0.0f);
  EXPECT_EQ(y[10], 1.0f);
  for (const uint32_t bits : {0x7fc00000u, 0xffc00001u, 0x7fc00fffu}) {
    EXPECT_TRUE(std::isnan(exp_f32(std::bit_cast<float>(bits))));
    EXPECT_TRUE(std::isnan(vector_exp({std::bit_cast<float>(bits)})[0]));
  }
}

TEST(Exp, ScalarTwinEqualsTheVectorsOfEveryWidth) {
  const std::vector<float> x = whole_range(8009);
  const std::vector<float> want = scalar_exp(x);
  test::expect_same_bits(vector_exp(x), want, "best target");
  const test::WithoutAvx512 guard;
  test::expect_same_bits(vector_exp(x), want, "without AVX-512");
}

TEST(Exp, TailsTouchNothingPastTheEnd) {
  for (int64_t n = 0; n < 40; ++n) {
    std::vector<float> x(40, 1.0f), y(40, kNaN);
    exp_array(x.data(), n, y.data());
    for (int64_t i = 0; i < 40; ++i) {
      if (i < n) {
        EXPECT_EQ(y[static_cast<size_t>(i)], exp_f32(1.0f));
      } else {
        EXPECT_TRUE(std::isnan(y[static_cast<size_t>(i)])) << n << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace r1::exp_test
