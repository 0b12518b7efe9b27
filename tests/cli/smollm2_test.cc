// A real small model, SmolLM2-135M-Instruct as a quantised GGUF file (scripts/fetch_smollm2.sh): it answers,
// and the project's promises hold for it. No test depends on the numerics that a GGUF file has by default.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::smollm2_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

class SmolLM2 : public testing::Test {
 protected:
  void SetUp() override {
    const char* const path = std::getenv("R1_SMOLLM2_GGUF");
    if (path == nullptr || !std::filesystem::exists(path))
      GTEST_SKIP() << "SKIPPED: R1_SMOLLM2_GGUF names no file (scripts/fetch_smollm2.sh fetches it)";
    file_ = path;
  }

  // Each setting of the numerics that a user has; the first is the default.
  const std::vector<std::vector<std::string>> numerics_ = {{}, {"--dtype", "bf16"}, {"--dtype", "f32"}};
  std::string file_;
};

TEST_F(SmolLM2, KnowsTheCapitalOfFranceAndEndsItsTurn) {
  for (const std::vector<std::string>& numerics : numerics_) {
    std::vector<std::string> words = {"run",    file_,           "-p", "Name the capital of France.",
                                      "--json", "--temperature", "0",  "--max-tokens",
                                      "100"};
    words.insert(words.end(), numerics.begin(), numerics.end());
    const auto result = r1_run(words);
    ASSERT_EQ(result.status, 0) << result.err;
    const Json answer = parse_json(result.out, "answer");
    EXPECT_NE(answer.get_string("text").find("Paris"), std::string::npos) << answer.get_string("text");
    EXPECT_EQ(answer.get_string("text").find("<|im_end|>"), std::string::npos);
    EXPECT_EQ(answer.get_string("finish_reason"), "stop");
    EXPECT_EQ(answer.at("tokens").at(answer.at("tokens").size() - 1).integer(), 2);  // <|im_end|>
  }
}

TEST_F(SmolLM2, PrintsWhatTheReadmeShows) {
  const auto result =
      r1_run({"run", file_, "-p", "What is the capital of France?", "--temperature", "0", "--dtype", "bf16"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "The capital of France is Paris.\n");
}

TEST_F(SmolLM2, BatchChunkAndThreadsChangeNoBit) {
  std::string rows;
  for (const char* question : {"What is 2 + 3?", "Name three colours of the rainbow, please.", "Hi",
                               "Write one sentence about the sea, the sky and a small red boat."})
    rows += R"({"prompt": ")" + std::string(question) + "\"}\n";
  const std::string input = write("smollm2.jsonl", rows);
  const auto generated = [&](const std::vector<std::string>& numerics,
                             const std::vector<std::string>& flags) {
    const std::string output = (scratch() / "smollm2-out.jsonl").string();
    std::vector<std::string> words = {"generate", file_,       "--input", input,           "--output",
                                      output,     "--seed",    "3",       "--logprobs",    "--max-tokens",
                                      "12",       "--samples", "2",       "--temperature", "0.8"};
    words.insert(words.end(), numerics.begin(), numerics.end());
    words.insert(words.end(), flags.begin(), flags.end());
    const auto result = r1_run(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return read_file(output);
  };
  for (const std::vector<std::string>& numerics : numerics_) {
    const std::string want = generated(numerics, {});
    EXPECT_EQ(test::rows_of(want).size(), 8u);
    EXPECT_TRUE(generated(numerics, {"--batch", "1", "--prefill-chunk", "7"}) == want);
    EXPECT_TRUE(generated(numerics, {"--batch", "3", "--threads", "2", "--prefill-chunk", "16"}) == want);
  }
}

// tests/ref/smollm2_ids.py wrote the expected texts with Jinja2.
TEST_F(SmolLM2, ItsTemplateRendersAsWithJinja2) {
  const Json chats = read_json(R1_SOURCE_DIR "/tests/golden/gguf/smollm2_chats.json");
  std::string rows;
  for (const Json& chat : chats.items()) rows += chat.at("input").dump() + "\n";
  const auto result = r1_run({"template", file_, "--input", write("chats.jsonl", rows)});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<Json> got = test::rows_of(result.out);
  ASSERT_EQ(got.size(), chats.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(got[i].get_string("rendered"), chats.at(i).get_string("rendered"));
}

TEST_F(SmolLM2, ItsTokensAreThoseOfLlamaCpp) {
  const Json rows = read_json(R1_SOURCE_DIR "/tests/golden/gguf/smollm2_ids.json");
  std::string texts, ids;
  for (const Json& row : rows.items()) {
    texts += Json::object().set("text", row.at("text")).dump() + "\n";
    ids += Json::object().set("tokens", row.at("ids")).dump() + "\n";
  }
  const auto encoded = r1_run({"tokenize", file_, "--input", write("texts.jsonl", texts)});
  const auto decoded = r1_run({"tokenize", file_, "--decode", "--input", write("ids.jsonl", ids)});
  ASSERT_EQ(encoded.status, 0) << encoded.err;
  ASSERT_EQ(decoded.status, 0) << decoded.err;
  const std::vector<Json> got = test::rows_of(encoded.out), back = test::rows_of(decoded.out);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(got.at(i).at("tokens").dump(), rows.at(i).at("ids").dump()) << rows.at(i).get_string("text");
    EXPECT_EQ(back.at(i).get_string("text"), rows.at(i).get_string("text"));
  }
}

TEST_F(SmolLM2, TheDoctorFindsItWell) {
  const auto result = r1_run({"doctor", file_});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* line :
       {"ok      model files: llama, 134515008 weights, all finite",
        "ok      tokenizer: 6 texts come back as they went",
        "ok      chat template: a question becomes 40 tokens", "ok      one forward, cpu-f32"})
    EXPECT_NE(result.out.find(line), std::string::npos) << line << "\n" << result.out;
  EXPECT_EQ(result.out.find("FAILED"), std::string::npos) << result.out;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kHasAsan = true;
#elif defined(__has_feature)
constexpr bool kHasAsan = __has_feature(address_sanitizer);
#else
constexpr bool kHasAsan = false;
#endif

// The weights in f32 are 513 MiB, the file has 94, which are pages of the system's cache.
TEST_F(SmolLM2, ItsPeakMemoryIsBounded) {
  if (kHasAsan) GTEST_SKIP() << "SKIPPED: AddressSanitizer's own memory would be counted";
  const auto result =
      r1_run({"run", file_, "-p", "Hi", "--dtype", "f32", "--temperature", "0", "--max-tokens", "8"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_LT(result.peak_mib, 513 * 1.1 + 94);
}

}  // namespace
}  // namespace r1::smollm2_test
