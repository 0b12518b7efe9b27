#include "data/overlap.h"

#include <gtest/gtest.h>

namespace r1::overlap_test {
namespace {

TEST(Overlap, TenSharedWordsAreAMatchAndNineAreNone) {
  OverlapIndex index;
  index.add("Alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu", 3);
  const auto match =
      index.find("He said: BETA gamma, delta-epsilon zeta eta (theta) iota kappa lambda! And so on.");
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->source, 3u);
  EXPECT_EQ(match->words, "BETA gamma, delta-epsilon zeta eta (theta) iota kappa lambda");
  EXPECT_FALSE(index.find("beta gamma delta epsilon zeta eta theta iota kappa and more words than ten"));
  EXPECT_FALSE(index.find("beta gamma delta epsilon zeta eta theta kappa iota lambda")) << "order counts";
}

TEST(Overlap, ShortTextsAreComparedAsAWhole) {
  OverlapIndex index;
  index.add("What is 17 + 25?", 0);
  index.add("two words", 1);
  EXPECT_TRUE(index.find("what is 17+25"));
  EXPECT_FALSE(index.find("what is 17 + 26?"));
  EXPECT_FALSE(index.find("Tell me, what is 17 + 25?"));
  EXPECT_FALSE(index.find("two words"));
  EXPECT_FALSE(index.find(""));
}

TEST(Overlap, EveryPositionOfALongTextIsFound) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "w" + std::to_string(i) + " ";
  OverlapIndex index;
  index.add(text, 0);
  for (int from = 0; from + 10 <= 60; ++from) {
    std::string part = "x y z ";
    for (int i = from; i < from + 10; ++i) part += "w" + std::to_string(i) + " ";
    EXPECT_TRUE(index.find(part + "end")) << from;
  }
}

}  // namespace
}  // namespace r1::overlap_test
