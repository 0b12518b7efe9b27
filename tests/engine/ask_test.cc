#include "engine/ask.h"

#include <gtest/gtest.h>

namespace r1 {
namespace {

TEST(Ask, EveryProblemIsAskedAloneWithRandomNumbersOfItsOwn) {
  const ModelBundle bundle = ModelBundle::load(std::string(R1_SOURCE_DIR) + "/models/r1-nano-base");
  std::vector<Problem> problems;
  for (uint64_t i = 0; i < 3; ++i) problems.push_back(make_problem("countdown3", 1, i, Split::train));
  Request settings;
  settings.samples = 5;
  settings.max_tokens = 7;
  settings.sampling.top_p = 0.5f;
  settings.key = {.seed = 2, .step = 3, .prompt = 40};
  const std::vector<Request> requests = ask(bundle, problems, settings);
  ASSERT_EQ(requests.size(), 3u);
  int64_t tokens = 0;
  for (uint32_t i = 0; i < 3; ++i) {
    const Request& r = requests[i];
    EXPECT_EQ(r.prompt, bundle.chat_prompt(problems[i].question));
    EXPECT_EQ(r.stop_tokens, bundle.stop_tokens);
    EXPECT_EQ(r.samples, 5);
    EXPECT_EQ(r.max_tokens, 7);
    EXPECT_EQ(r.sampling.top_p, 0.5f);
    EXPECT_EQ(r.key.seed, 2u);
    EXPECT_EQ(r.key.step, 3u);
    EXPECT_EQ(r.key.prompt, 40 + i);
    tokens += static_cast<int64_t>(r.prompt.size());
  }
  EXPECT_EQ(prompt_tokens(requests), tokens);
}

}  // namespace
}  // namespace r1
