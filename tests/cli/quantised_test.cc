// A quantised GGUF file from the outside: its default numerics, and what refuses it.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"
#include "tests/model/quantised_models.h"

namespace r1::quantised_test {
namespace {

namespace fs = std::filesystem;
using test::r1_run;
using test::scratch;
using test::write;

std::string quantised_file() {
  const fs::path path = scratch() / "quantised.gguf";
  if (!fs::exists(path)) test::write_quantised_llama(path);
  return path.string();
}

std::string token_rows() {
  std::string text;
  for (int row = 0; row < 5; ++row) {
    text += R"({"tokens":[)";
    for (int i = 0; i < 3 + 11 * row; ++i)
      text += (i > 0 ? "," : "") + std::to_string((7 * i * i + row) % 50);
    text += "]}\n";
  }
  return text;
}

std::string samples_of(const std::vector<std::string>& flags) {
  const std::string output = (scratch() / "quantised.jsonl").string();
  std::vector<std::string> arguments{
      "generate", quantised_file(), "--input",    write("tokens.jsonl", token_rows()),
      "--output", output,           "--logprobs", "--samples",
      "2",        "--max-tokens",   "12",         "--temperature",
      "0.9",      "--seed",         "3"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const auto result = r1_run(arguments);
  EXPECT_EQ(result.status, 0) << result.err;
  return read_file(output);
}

TEST(CliQuantised, TheDefaultIsToComputeWithTheWeightsAsTheyAre) {
  const std::string output = (scratch() / "default.jsonl").string();
  const auto result = r1_run(
      {"score", quantised_file(), "--input", write("tokens.jsonl", token_rows()), "--logprobs", output});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("numerics cpu-q8act: "), std::string::npos) << result.err;
  const std::string named = (scratch() / "named.jsonl").string();
  const auto again = r1_run({"score", quantised_file(), "--input", write("tokens.jsonl", token_rows()),
                             "--logprobs", named, "--numerics", "cpu-q8act"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.err, "");
  EXPECT_EQ(read_file(output), read_file(named));
  for (const char* dtype : {"f32", "bf16"}) {
    const auto dequantised =
        r1_run({"score", quantised_file(), "--input", write("tokens.jsonl", token_rows()), "--logprobs",
                named, "--dtype", dtype});
    ASSERT_EQ(dequantised.status, 0) << dequantised.err;
    EXPECT_NE(read_file(output), read_file(named)) << dtype;
  }
}

TEST(CliQuantised, OutputDoesNotDependOnBatchChunkOrThreads) {
  const std::string want = samples_of({"--batch", "64", "--threads", "1"});
  for (const char* batch : {"1", "3"})
    EXPECT_TRUE(samples_of({"--batch", batch, "--threads", "2"}) == want) << batch;
  for (const char* chunk : {"1", "5", "1000"})
    EXPECT_TRUE(samples_of({"--prefill-chunk", chunk, "--threads", "2"}) == want) << chunk;
}

TEST(CliQuantised, KeysOfEveryTypeAreOneForward) {
  std::vector<std::string> answers;
  for (const char* type : {"f32", "bf16", "q8"}) {
    const std::string want = samples_of({"--kv-type", type, "--batch", "64", "--threads", "1"});
    EXPECT_TRUE(samples_of({"--kv-type", type, "--batch", "1", "--threads", "2"}) == want) << type;
    EXPECT_TRUE(samples_of({"--kv-type", type, "--prefill-chunk", "5", "--threads", "2"}) == want) << type;
    answers.push_back(want);
    // Scoring the samples under the same type gives their log-probs; the numerics' name says the same as the option.
    std::string rows;
    const std::vector<Json> samples = test::rows_of(want);
    for (const Json& row : samples) {
      Json tokens = row.at("prompt_tokens");
      for (const Json& t : row.at("tokens").items()) tokens.push_back(t);
      rows += Json::object()
                  .set("from", static_cast<int64_t>(row.at("prompt_tokens").size()))
                  .set("tokens", tokens)
                  .dump() +
              "\n";
    }
    const std::string scores = (scratch() / "kv-scores.jsonl").string();
    const std::string name =
        std::string("cpu-q8act") + (type == std::string("bf16") ? "" : std::string("/kv-") + type);
    const auto result = r1_run({"score", quantised_file(), "--input", write("kv-rows.jsonl", rows),
                                "--logprobs", scores, "--temperature", "0.9", "--numerics", name});
    ASSERT_EQ(result.status, 0) << result.err;
    const std::vector<Json> scored = test::rows_of(read_file(scores));
    ASSERT_EQ(scored.size(), samples.size());
    for (size_t i = 0; i < scored.size(); ++i)
      EXPECT_EQ(scored[i].at("logprobs").dump(), samples[i].at("logprobs").dump()) << type << ", row " << i;
  }
  EXPECT_TRUE(answers[1] == samples_of({})) << "bf16 is the default";
  EXPECT_FALSE(answers[0] == answers[1]);
  EXPECT_FALSE(answers[1] == answers[2]);
}

TEST(CliQuantised, AFileThatSaysItHasNoTokenizerAnswersTokenIds) {
  const fs::path file = scratch() / "no-vocab.gguf";
  test::write_quantised_llama(file, /*no_vocab=*/true);
  const auto result = r1_run({"generate", file.string(), "--input", write("tokens.jsonl", token_rows()),
                              "--output", "-", "--max-tokens", "3", "--temperature", "0"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(test::rows_of(result.out).size(), 5u);
  EXPECT_ONE_LINE_ERROR(r1_run({"run", file.string(), "-p", "hello", "--numerics", "cpu-q8act"}),
                        "has no tokenizer");
}

TEST(CliQuantised, TypesOfKeysThatCannotBeAreOneLine) {
  const std::string input = write("tokens.jsonl", token_rows());
  const auto score = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{"score", quantised_file(), "--input", input, "--logprobs", "-"};
    all.insert(all.end(), more.begin(), more.end());
    return r1_run(all);
  };
  EXPECT_ONE_LINE_ERROR(score({"--kv-type", "q4"}), "they can be f32, bf16 or q8");
  EXPECT_ONE_LINE_ERROR(score({"--kv-type", "f32", "--dtype", "bf16"}), "use bf16 or q8");
  EXPECT_ONE_LINE_ERROR(score({"--kv-type", "bf16", "--numerics", "cpu-q8act/kv-q8"}), "give one of the two");
  EXPECT_EQ(score({"--kv-type", "q8", "--numerics", "cpu-q8act/kv-q8"}).status, 0);
  const std::string gradients = (scratch() / "kv-g.safetensors").string();
  EXPECT_ONE_LINE_ERROR(
      r1_run({"score", test::tiny_llama(), "--input", input, "--gradients", gradients, "--kv-type", "q8"}),
      "no gradients with keys and values of that type: leave out --kv-type");
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", "no.toml", "--kv-type", "q8"}), "type of its activations");
}

TEST(CliQuantised, GradientsAreOfDequantisedWeights) {
  const std::string input = write("tokens.jsonl", token_rows()),
                    gradients = (scratch() / "g.safetensors").string();
  const auto refused = r1_run(
      {"score", quantised_file(), "--input", input, "--gradients", gradients, "--numerics", "cpu-q8act"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("--numerics cpu-q8act has no gradients"), std::string::npos) << refused.err;
  const auto both = r1_run({"score", quantised_file(), "--input", input, "--numerics", "cpu-q8act", "--dtype",
                            "f32", "--logprobs", gradients});
  EXPECT_EQ(both.status, 2);
  EXPECT_NE(both.err.find("give one of the two"), std::string::npos) << both.err;
  const auto made = r1_run({"score", quantised_file(), "--input", input, "--gradients", gradients});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.err.find("cpu-q8act"), std::string::npos) << made.err;
}

}  // namespace
}  // namespace r1::quantised_test
