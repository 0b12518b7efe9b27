#include "engine/ask.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/engine/opened_model.h"

namespace r1::ask_test {
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
    EXPECT_EQ(r.prompt, bundle.chat_prompt(problems[i].question).tokens);
    EXPECT_EQ(r.opening, "");
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

TEST(Ask, ARequestSaysThatItsPromptOpensTheThought) {
  const auto root = std::filesystem::temp_directory_path() / ("r1_ask_" + std::to_string(::getpid()));
  test::opened_model("r1-nano-base", root, "<think>\\n");
  ModelBundle bundle = ModelBundle::load(root);
  std::filesystem::remove_all(root);
  Problem problem{.task = "expression", .question = "What does <think> mean?", .gold = "\"1\"", .key = ""};
  const Request r = ask(bundle, {&problem, 1}, {})[0];
  EXPECT_EQ(r.opening, "<think>\n");
  EXPECT_TRUE(bundle.tokenizer.decode(r.prompt).ends_with("<｜Assistant｜><think>\n"));
  // Without a template the question is the whole prompt, so its end decides whether a thought is open.
  bundle.chat_template = {};
  EXPECT_EQ(ask(bundle, {&problem, 1}, {})[0].opening, "");
  problem.question = "Q: 1+1? A: <think>";
  EXPECT_EQ(ask(bundle, {&problem, 1}, {})[0].opening, "<think>");
}

}  // namespace
}  // namespace r1::ask_test
