// tests/tensor/token_steps_test.cc: the steps of sums over tokens on tensor cores.
#include "tensor/token_steps.h"

#include <gtest/gtest.h>

#include <vector>

namespace r1::token_steps_test {
namespace {

TEST(TokenSteps, NoStepHasTokensOfTwoFamilies) {
  const std::vector<int64_t> families = {5, 16, 0, 33, 1};
  const std::vector<int32_t> rows = token_step_rows(families);
  ASSERT_EQ(rows.size() % kTokenStep, 0u);
  EXPECT_EQ(rows.size(), static_cast<size_t>((1 + 1 + 3 + 1) * kTokenStep));
  const auto family_of = [&](int32_t token) {
    int64_t end = 0;
    size_t i = 0;
    while (token >= (end += families[i])) ++i;
    return i;
  };
  int32_t next = 0;
  for (size_t step = 0; step < rows.size(); step += kTokenStep) {
    for (size_t i = step; i < step + kTokenStep; ++i) {
      if (rows[i] < 0) continue;
      EXPECT_EQ(rows[i], next++);
      EXPECT_EQ(family_of(rows[i]), family_of(rows[step]));
    }
  }
  EXPECT_EQ(next, 55);
}

TEST(TokenSteps, PiecesOfFamiliesHaveTheStepsOfTheWhole) {
  const std::vector<int64_t> families = {33, 1, 16, 90, 7, 48};
  const std::vector<int32_t> whole = token_step_rows(families);
  for (size_t cut = 1; cut < families.size(); ++cut) {
    const std::span<const int64_t> all(families);
    std::vector<int32_t> rows = token_step_rows(all.first(cut));
    int32_t before = 0;
    for (size_t i = 0; i < cut; ++i) before += static_cast<int32_t>(families[i]);
    for (const int32_t row : token_step_rows(all.subspan(cut))) rows.push_back(row < 0 ? row : row + before);
    EXPECT_EQ(rows, whole) << "cut before family " << cut;
  }
}

}  // namespace
}  // namespace r1::token_steps_test
