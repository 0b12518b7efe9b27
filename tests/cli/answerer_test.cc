// One answer at a time: an answer that goes on, and turns that use the same seed.
#include "cli/answerer.h"

#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"

namespace r1::answerer_test {
namespace {

Answer answer(const SamplingModel& model, const std::vector<int32_t>& prompt, int64_t drawn, int64_t most) {
  SamplingFlags flags;
  flags.max_tokens = most;
  flags.temperature = 1.0;
  flags.ignore_eos = true;
  Answerer answerer({}, flags, model);
  return answerer.answer({.prompt = prompt, .seed = 9, .drawn = drawn, .what = "the question"}, {});
}

TEST(Answerer, MoreGoesOnAsIfTheAnswerHadNotBeenCut) {
  const SamplingModel model = SamplingModel::load({}, test::tiny_llama());
  const std::vector<int32_t> prompt{5, 9, 30, 12};
  const std::vector<int32_t> whole = answer(model, prompt, 0, 40).tokens;
  ASSERT_EQ(whole.size(), 40u);
  std::vector<int32_t> made;
  while (made.size() < whole.size()) {
    std::vector<int32_t> so_far = prompt;
    so_far.insert(so_far.end(), made.begin(), made.end());
    const auto part = answer(model, so_far, std::ssize(made), 7 + std::ssize(made) % 3).tokens;
    made.insert(made.end(), part.begin(), part.end());
  }
  made.resize(whole.size());
  EXPECT_EQ(made, whole);
}

// The same question twice with one seed: the second turn is not drawn with the first turn's random numbers.
TEST(Answerer, ALaterTurnDoesNotRepeatTheDrawsOfAnEarlierOne) {
  const SamplingModel model = SamplingModel::load({}, test::tiny_llama());
  const std::vector<int32_t> prompt{5, 9, 30, 12};
  const std::vector<int32_t> first = answer(model, prompt, 0, 40).tokens;
  EXPECT_EQ(answer(model, prompt, 0, 40).tokens, first) << "a seed repeats an answer";
  EXPECT_NE(answer(model, prompt, 40, 40).tokens, first);
}

}  // namespace
}  // namespace r1::answerer_test
