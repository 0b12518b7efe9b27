// The project's promise, seen from outside: batching, chunking and threads change no byte, and scoring gives
// exactly the log-probs that sampling gave.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"

namespace r1::one_forward_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

std::string prompts() {
  std::string text;
  for (int i = 0; i < 9; ++i) {
    std::string question = "Use 3, 5 and " + std::to_string(i) + " to make 24.";
    for (int k = 0; k < 3 * i; ++k) question += " make";  // lengths across several key tiles
    text += i % 3 == 2 ? R"({"messages":[{"role":"user","content":")" + question + "\"}]}\n"
                       : R"({"prompt":")" + question + "\"}\n";
  }
  return text + R"({"tokens":[0,2,70,71,72,3]})" + "\n";
}

std::string generate(const std::string& model, const std::string& input,
                     const std::vector<std::string>& flags, const std::string& seed = "5") {
  const std::string output = (scratch() / "generated.jsonl").string();
  std::vector<std::string> arguments{
      "generate",     model, "--input",       input, "--output", output, "--logprobs", "--samples", "3",
      "--max-tokens", "40",  "--temperature", "0.9", "--top-p",  "0.95", "--seed",     seed};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const auto result = r1_run(arguments);
  EXPECT_EQ(result.status, 0) << result.err;
  return read_file(output);
}

class OneForward : public testing::TestWithParam<std::string (*)()> {};

TEST_P(OneForward, OutputDoesNotDependOnBatchChunkOrThreads) {
  const std::string model = GetParam()();
  const std::string input = write("prompts.jsonl", prompts());
  const std::string want = generate(model, input, {"--batch", "64", "--threads", "1"});
  ASSERT_EQ(test::rows_of(want).size(), 30u);
  for (const char* batch : {"1", "7"})
    EXPECT_TRUE(generate(model, input, {"--batch", batch, "--threads", "2"}) == want) << "--batch " << batch;
  for (const char* chunk : {"1", "5", "1000"}) {
    EXPECT_TRUE(generate(model, input, {"--prefill-chunk", chunk, "--threads", "2"}) == want)
        << "--prefill-chunk " << chunk;
  }
  EXPECT_FALSE(generate(model, input, {}, "6") == want) << "the seed changes nothing";
}

TEST_P(OneForward, ScoringGivesTheSamplersLogProbsToTheBit) {
  const std::string model = GetParam()();
  const std::string input = write("prompts.jsonl", prompts());
  const std::vector<Json> generated = test::rows_of(generate(model, input, {}));
  std::string rows;
  for (const Json& row : generated) {
    Json tokens = row.at("prompt_tokens");
    for (const Json& t : row.at("tokens").items()) tokens.push_back(t);
    Json json = Json::object();
    json.set("from", static_cast<int64_t>(row.at("prompt_tokens").size())).set("tokens", tokens);
    rows += json.dump() + "\n";
  }
  const std::string scores = (scratch() / "scores.jsonl").string();
  const auto result = r1_run(
      {"score", model, "--input", write("rows.jsonl", rows), "--logprobs", scores, "--temperature", "0.9"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<Json> scored = test::rows_of(read_file(scores));
  ASSERT_EQ(scored.size(), generated.size());
  for (size_t i = 0; i < scored.size(); ++i) {
    EXPECT_EQ(scored[i].at("logprobs").dump(), generated[i].at("logprobs").dump()) << "row " << i;
    EXPECT_GT(scored[i].at("logprobs").size(), 0u);
  }
}

TEST_P(OneForward, AKeyReplaysTheSameRandomNumbers) {
  const std::string model = GetParam()();
  const std::string plain = write("plain.jsonl", R"({"tokens":[0,70,71]}
{"tokens":[0,70,71]}
)");
  const std::string keyed = write("keyed.jsonl", R"({"tokens":[0,70,71],"key":[5,0,1]}
)");
  const auto two = test::rows_of(generate(model, plain, {}));
  const auto one = test::rows_of(generate(model, keyed, {}, "99"));
  ASSERT_EQ(two.size(), 6u);
  ASSERT_EQ(one.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(one[i].at("tokens").dump(), two[3 + i].at("tokens").dump());
    EXPECT_EQ(one[i].at("logprobs").dump(), two[3 + i].at("logprobs").dump());
  }
}

constexpr const char* kNames[] = {"Llama", "DeepseekV3", "Qwen3"};
INSTANTIATE_TEST_SUITE_P(Models, OneForward,
                         testing::Values(test::tiny_llama, test::tiny_deepseek, test::tiny_qwen3),
                         [](const auto& info) { return kNames[info.index]; });

}  // namespace
}  // namespace r1::one_forward_test
