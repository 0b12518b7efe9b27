// Pages of q8: attention has the bits of attention over keys and values that were rounded to q8 before, however
// tokens arrive and on every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/ops/attention_util.h"

namespace r1::attention_q8_test {
namespace {

using namespace test_attention;

const std::vector<int64_t> kLengths = {1, 31, 32, 33, 2, 63, 64, 65, 130};

// Rounds numbers to q8 and back by the reference, in place.
void round_numbers(float* x, int64_t n) {
  std::vector<int8_t> numbers(static_cast<size_t>(n));
  const float d = ref::quantise_key(x, n, numbers.data());
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(numbers[static_cast<size_t>(i)]) * d;
}

Data rounded(Data data) {
  const Shape4& z = data.z;
  for (int64_t i = 0; i < data.T() * z.G; ++i) {
    float *key = data.k.data() + i * z.K, *value = data.v.data() + i * z.V;
    if (data.values_in_keys) {
      round_numbers(key, z.V);
      round_numbers(key + z.V, z.K - z.V);
      std::copy_n(key, z.V, value);
    } else {
      round_numbers(key, z.K);
      round_numbers(value, z.V);
    }
  }
  data.numerics = Numerics::cpu_f32;
  return data;
}

Data in_q8(const Shape4& z, const std::vector<int64_t>& lengths, bool latent, uint64_t seed) {
  Data data(z, lengths, seed);
  data.numerics = Numerics::cpu_f32_kv_q8;
  if (!latent) return data;
  data.values_in_keys = true;
  for (int64_t i = 0; i < data.T() * z.G; ++i) {
    // Rotary parts are much larger than latents, so that one scale for both would lose the latents.
    for (int64_t d = z.V; d < z.K; ++d) data.k[static_cast<size_t>(i * z.K + d)] *= 30;
    std::copy_n(data.k.begin() + i * z.K, z.V, data.v.begin() + i * z.V);
  }
  return data;
}

void expect_the_rounded_bits(const Shape4& z, bool latent) {
  const Data data = in_q8(z, kLengths, latent, 71);
  const Data exact = rounded(data);
  const std::vector<float> want = run_whole(exact);
  test::expect_near(want, ref_forward(exact), 1e-3, z.str());
  for (const int threads : {1, 3}) {
    test::expect_same_bits(run_whole(data, threads), want, z.str());
    const auto decode = [](int64_t s, int64_t done) { return done == 0 ? 5 + s : 1; };
    test::expect_same_bits(run_steps(data, threads, 7, decode), want, z.str() + " decoding");
    const auto chunks = [](int64_t, int64_t) { return int64_t{17}; };
    test::expect_same_bits(run_steps(data, threads, 8, chunks), want, z.str() + " in chunks");
  }
}

TEST(AttentionInQ8, HasTheBitsOfKeysThatWereRoundedBefore) {
  for (const Shape4& z : shapes()) expect_the_rounded_bits(z, false);
}

TEST(AttentionInQ8, OfLatentsToo) {
  for (const Shape4& z : {Shape4{4, 1, 80, 64},
                          {1, 1, 20, 16},
                          {5, 1, 19, 7},
                          {13, 1, 33, 33},
                          {6, 2, 36, 32},
                          {16, 1, 144, 128}})
    expect_the_rounded_bits(z, true);
}

TEST(AttentionInQ8, DoesNotDependOnThreadsOrInstructionSet) {
  for (const Shape4& z : few_shapes()) {
    const Data data = in_q8(z, kLengths, false, 72);
    test::expect_one_answer([&](int threads) { return run_whole(data, threads); }, z.str());
  }
  const Data latent = in_q8({5, 1, 83, 64}, kLengths, true, 73);
  test::expect_one_answer([&](int threads) { return run_whole(latent, threads); }, "latent");
}

TEST(AttentionInQ8, ScalesAreOfOneTokenAndHead) {
  // One token's keys and values are a thousand times larger; the others keep their precision.
  Data data = in_q8({4, 2, 32, 32}, {40}, false, 74);
  Data loud = data;
  for (int64_t i = 0; i < 64; ++i) loud.k[static_cast<size_t>(39 * 64 + i)] *= 1000;
  std::vector<float> got = run_whole(loud), want = run_whole(data);
  got.resize(39 * 4 * 32);
  want.resize(got.size());
  EXPECT_EQ(got, want) << "a later token changes no earlier one";
  EXPECT_EQ(run_whole(loud), run_whole(rounded(loud)));
}

TEST(AttentionInQ8, ZerosTinyAndLargeNumbersFollowTheContract) {
  const float largest = std::numeric_limits<float>::max();
  for (const float value : {0.0f, -0.0f, 1e-40f, 0x1p-120f, 0x1p-119f, 1e-30f, 1e30f, largest}) {
    const std::vector<float> x = {value, -value / 2, value / 3, 0.0f, value};
    int8_t q[5];
    const float d = ref::quantise_key(x.data(), 5, q);
    if (value < 0x1p-119f) {
      EXPECT_EQ(d, 0.0f);
    } else {
      EXPECT_EQ(q[0], 127);
      EXPECT_EQ(q[1], -64) << "-63.5 is rounded to even";
      EXPECT_EQ(d, value / 127.0f);
    }
    Data data = in_q8({1, 1, 5, 5}, {3}, false, 75);
    for (size_t i = 0; i < data.k.size(); ++i) data.v[i] = x[i % 5];
    for (size_t i = 0; i < data.k.size(); ++i) data.k[i] = value < 1 ? x[i % 5] : data.k[i];
    test::expect_same_bits(run_whole(data), run_whole(rounded(data)),
                           "numbers of about " + std::to_string(value));
  }
}

TEST(AttentionInQ8, KeysThatAreNotFiniteMakeTheAnswerNan) {
  for (const float bad : {test::kNaN, std::numeric_limits<float>::infinity()}) {
    for (const bool latent : {false, true}) {
      Data data = in_q8({1, 1, 9, latent ? 5 : 9}, {4}, latent, 76);
      data.k[2 * 9 + 3] = bad;  // of token 2
      if (latent) data.v[2 * 5 + 3] = bad;
      const std::vector<float> out = run_whole(data);
      const auto width = static_cast<size_t>(data.z.V);
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i >= 2 * width) << i;
    }
  }
}

TEST(AttentionInQ8, HasNoGradients) {
  Data data = in_q8({1, 1, 8, 8}, {5}, false, 77);
  EXPECT_THROW(run_training(data), BrokenInvariant);
}

TEST(AttentionInQ8, PagesTakeAByteANumberAndTwoScalesATokenAndHead) {
  const KvPages heads{nullptr, DType::q8, 2, 128, 128}, latent{nullptr, DType::q8, 1, 576, 512, true};
  EXPECT_EQ(heads.page_bytes(), static_cast<size_t>(kKeyTile * 2 * (128 + 4 + 128 + 4)));
  EXPECT_EQ(latent.page_bytes(), static_cast<size_t>(kKeyTile * (512 + 4 + 64 + 4)));
}

}  // namespace
}  // namespace r1::attention_q8_test
