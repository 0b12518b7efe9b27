// Answers as tokens: the stop token is no text, a cut answer is never right, thoughts are counted to
// </think>.
#include "reward/answer.h"

#include <gtest/gtest.h>

namespace r1 {
namespace {

class Answer : public testing::Test {
 protected:
  Tokenizer tokenizer = Tokenizer::load(R1_SOURCE_DIR "/models/r1-nano-base");
  Problem problem = countdown_task({.numbers = {3, 5, 9}, .target = 24}, 0);
  std::vector<int32_t> tokens(const std::string& text) const { return tokenizer.encode(text, false); }
  int32_t eos() const { return *tokenizer.id_of("<｜end▁of▁sentence｜>"); }
};

TEST_F(Answer, RightOnlyWhenItEnds) {
  std::vector<int32_t> t = tokens("<think>5*3=15+9=24 yes</think><answer>5*3+9</answer>");
  EXPECT_EQ(verify_answer(tokenizer, problem, t, false).why, "truncated");
  t.push_back(eos());
  EXPECT_TRUE(verify_answer(tokenizer, problem, t, true).correct);
}

TEST_F(Answer, StraySpecialTokensAreNotWellFormed) {
  std::vector<int32_t> t = tokens("<think>x</think><answer>5*3+9</answer>");
  t.insert(t.begin() + 2, *tokenizer.id_of("<｜User｜>"));
  t.push_back(eos());
  t.insert(t.end() - 1, *tokenizer.id_of("<｜User｜>"));
  EXPECT_FALSE(verify_answer(tokenizer, problem, t, true).well_formed);
}

TEST_F(Answer, ThinkingTokensEndAtTheTag) {
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("<think>1+2=3</think><answer>1</answer>")), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("1+2=3</think>")), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("1+2=3")), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, {}), 0);
}

}  // namespace
}  // namespace r1
