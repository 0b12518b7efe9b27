// Pages that hold values inside their keys (MLA) give the same bits as pages that hold both, however tokens
// arrive.
#include <gtest/gtest.h>

#include <vector>

#include "tests/ops/attention_util.h"

namespace r1::attention_latent_test {
namespace {

using namespace test_attention;

const std::vector<Shape4> kShapes = {{4, 1, 80, 64},  {1, 1, 20, 16}, {5, 1, 19, 7},
                                     {13, 1, 33, 33}, {6, 2, 36, 32}, {16, 1, 144, 128}};
const std::vector<int64_t> kLengths = {1, 31, 32, 33, 2, 63, 64, 65, 130};

// Returns data whose values are the first V columns of its keys.
Data latent(const Shape4& z, const std::vector<int64_t>& lengths, uint64_t seed) {
  Data data(z, lengths, seed);
  for (int64_t i = 0; i < data.T() * z.G; ++i)
    std::copy_n(data.k.begin() + i * z.K, z.V, data.v.begin() + i * z.V);
  return data;
}

Data once(Data data) {
  data.values_in_keys = true;
  return data;
}

TEST(AttentionOfLatents, WholeAndStepByStepHaveTheBitsOfBothHeld) {
  for (const Shape4& z : kShapes) {
    const Data twice = latent(z, kLengths, 51);
    const std::vector<float> want = run_whole(twice);
    test::expect_near(want, ref_forward(twice), 1e-4, z.str());
    for (const int threads : {1, 3}) {
      EXPECT_EQ(run_whole(once(twice), threads), want) << z.str();
      const auto decode = [](int64_t s, int64_t done) { return done == 0 ? 5 + s : 1; };
      EXPECT_EQ(run_steps(once(twice), threads, 7, decode), want) << z.str();
      const auto chunks = [](int64_t, int64_t) { return int64_t{17}; };
      EXPECT_EQ(run_steps(once(twice), threads, 8, chunks), want) << z.str();
    }
  }
}

TEST(AttentionOfLatents, DoesNotDependOnThreadsOrInstructionSet) {
  for (const Shape4& z : kShapes) {
    const Data data = once(latent(z, kLengths, 52));
    test::expect_one_answer([&](int threads) { return run_whole(data, threads); }, z.str());
  }
}

TEST(AttentionOfLatents, MaskedSlotsAreNotRead) {
  const Shape4 z{4, 1, 20, 16};
  const Data data = once(latent(z, {45}, 55));
  Data later = data;  // tokens 21 and later are NaN, which the first 21 must not read
  std::fill(later.k.begin() + 21 * z.K, later.k.end(), test::kNaN);
  std::fill(later.v.begin() + 21 * z.V, later.v.end(), test::kNaN);
  std::vector<float> got = run_whole(later), want = run_whole(data);
  got.resize(static_cast<size_t>(21 * z.H * z.V));
  want.resize(got.size());
  EXPECT_EQ(got, want);
}

TEST(AttentionOfLatents, TrainingHasTheBitsOfBothHeld) {
  for (const Shape4& z : kShapes) {
    Data data = latent(z, {40, 3, 25, 33}, 53);
    for (const std::vector<int32_t>& parents : {std::vector<int32_t>{}, {-1, 0, 0, -1}}) {
      data.parents = parents;
      EXPECT_EQ(run_training(once(data)).all(), run_training(data).all()) << z.str();
    }
  }
}

TEST(AttentionOfLatents, ValuesThatAreNotTheKeysAreRefused) {
  EXPECT_THROW(run_whole(once(Data({4, 1, 8, 8}, {5}, 54))), BrokenInvariant);
  EXPECT_THROW(run_whole(once(Data({4, 1, 8, 9}, {5}, 54))), BrokenInvariant);
}

}  // namespace
}  // namespace r1::attention_latent_test
