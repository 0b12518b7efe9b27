// A model directory as users have it: generation_config.json and the command line, warnings, scarce memory.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/sanitizer.h"
#include "tests/cli/cli_test_util.h"

namespace r1::model_directory_test {
namespace {
using namespace test;

// Makes a new model with this generation_config.json.
std::string model_with(const std::string& name, const std::string& generation) {
  const fs::path directory = scratch() / name;
  fs::remove_all(directory);
  fs::copy(tiny_llama(), directory);
  write(name + "/generation_config.json", generation);
  return directory.string();
}

Json answer(const std::string& model, std::vector<std::string> options, std::string* err = nullptr) {
  std::vector<std::string> words = {
      "generate", model, "--input",   write("one.jsonl", "{\"tokens\": [0, 2, 80, 100, 3]}\n"),
      "--output", "-",   "--logprobs"};
  words.insert(words.end(), options.begin(), options.end());
  const Result result = r1_run(words);
  EXPECT_EQ(result.status, 0) << result.err;
  if (err != nullptr) *err = result.err;
  return rows_of(result.out).at(0);
}

std::string tokens(const std::string& model, std::vector<std::string> options) {
  return answer(model, std::move(options)).at("tokens").dump();
}

TEST(ModelDirectory, DoSampleFalseIsGreedyBesideATemperature) {
  const std::string model =
      model_with("greedy", R"({"do_sample": false, "temperature": 0.9, "top_p": 0.95})");
  const std::string first = tokens(model, {"--seed", "0", "--max-tokens", "24"});
  for (const char* seed : {"1", "2", "3"})
    EXPECT_EQ(tokens(model, {"--seed", seed, "--max-tokens", "24"}), first);
  EXPECT_EQ(tokens(model, {"--temperature", "0", "--max-tokens", "24"}), first);
  EXPECT_NE(tokens(model, {"--temperature", "2", "--max-tokens", "24"}),
            first);  // the command line has precedence
}

TEST(ModelDirectory, PenaltiesOfTheFileAreAppliedAndTheCommandLineOverridesThem) {
  const std::string plain = model_with("plain", R"({"do_sample": false})");
  const std::string model = model_with("penalised", R"({"do_sample": false, "repetition_penalty": 5.0})");
  const Json without = answer(plain, {"--max-tokens", "24"}), with = answer(model, {"--max-tokens", "24"});
  EXPECT_NE(with.at("tokens").dump(), without.at("tokens").dump());
  EXPECT_EQ(tokens(model, {"--max-tokens", "24", "--repetition-penalty", "1"}), without.at("tokens").dump());
  EXPECT_EQ(tokens(plain, {"--max-tokens", "24", "--repetition-penalty", "5"}), with.at("tokens").dump());
  EXPECT_NE(tokens(plain, {"--max-tokens", "24", "--frequency-penalty", "9"}), without.at("tokens").dump());
  EXPECT_NE(tokens(plain, {"--max-tokens", "24", "--presence-penalty", "50"}), without.at("tokens").dump());
  const std::string one = model_with("one", R"({"do_sample": true, "min_p": 1.0})");
  EXPECT_EQ(tokens(one, {"--max-tokens", "24", "--seed", "1"}),
            tokens(one, {"--max-tokens", "24", "--seed", "2"}));
}

TEST(ModelDirectory, PenalisedLogProbsAreThoseOfScore) {
  const std::string model = model_with("scored", R"({"temperature": 0.7, "repetition_penalty": 1.4})");
  const Json row = answer(model, {"--max-tokens", "12"});
  Json whole = Json::array();
  for (const char* key : {"prompt_tokens", "tokens"}) {
    for (const Json& id : row.at(key).items()) whole.push_back(id);
  }
  const std::string input = Json::object()
                                .set("tokens", whole)
                                .set("from", static_cast<int64_t>(row.at("prompt_tokens").size()))
                                .dump();
  const Result scored = r1_run({"score", model, "--input", "-", "--temperature", "0.7"}, input + "\n");
  ASSERT_EQ(scored.status, 0) << scored.err;
  EXPECT_EQ(rows_of(scored.out).at(0).at("logprobs").dump(), row.at("logprobs").dump());
}

TEST(ModelDirectory, MaxLengthCountsThePromptAndNewTokensComeFirst) {
  EXPECT_EQ(answer(model_with("long", R"({"max_length": 9, "eos_token_id": null})"), {"--ignore-eos"})
                .at("tokens")
                .size(),
            4u);
  EXPECT_EQ(answer(model_with("new", R"({"max_length": 9, "max_new_tokens": 6})"), {"--ignore-eos"})
                .at("tokens")
                .size(),
            6u);
  EXPECT_EQ(answer(model_with("flag", R"({"max_length": 9})"), {"--ignore-eos", "--max-tokens", "7"})
                .at("tokens")
                .size(),
            7u);
}

TEST(ModelDirectory, WhatCannotBeDoneIsNamedInOneLineAndTheRestIsDone) {
  const std::string model =
      model_with("beams", R"({"num_beams": 4, "penalty_alpha": 0.6, "length_penalty": 2.0})");
  std::string err;
  answer(model, {"--max-tokens", "2"}, &err);
  EXPECT_EQ(
      err,
      "r1: " + model +
          "/generation_config.json asks for num_beams = 4, penalty_alpha = 0.6, which r1 does not do; it "
          "samples without them\n");
}

TEST(ModelDirectory, AnAnswerEndsWithAnyTokenThatAFileCallsTheEnd) {
  // The tokenizer's <eos> is token 1. Another file adds one more stop token.
  const std::string model = model_with("ends", R"({"do_sample": false, "max_new_tokens": 20})");
  const Json free = answer(model, {"--ignore-eos"});
  const int64_t third = free.at("tokens").at(2).integer();
  write("ends/generation_config.json",
        Json::object().set("do_sample", false).set("max_new_tokens", 20).set("eos_token_id", third).dump());
  const Json stopped = answer(model, {});
  EXPECT_LE(stopped.at("tokens").size(), 3u);
  EXPECT_EQ(stopped.get_string("finish_reason"), "stop");
  write("ends/generation_config.json", R"({"do_sample": false, "max_new_tokens": 20})");
  Json config = read_json(model + "/tokenizer_config.json");
  const std::string piece = Tokenizer::load(model).token_of(static_cast<int32_t>(third));
  write("ends/special_tokens_map.json", Json::object().set("eos_token", piece).dump());
  EXPECT_EQ(tokens(model, {}), stopped.at("tokens").dump());
}

TEST(ModelDirectory, AnEmptyNameIsNoModel) {
  const std::string in = write("any.jsonl", "{\"tokens\": [0]}\n");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "", "-p", "hello"}), "MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", "", "--input", in, "--output", "-"}), "MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"score", "", "--input", in}), "MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", "", "--task", "countdown3"}), "MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"tokenize", "", "--input", in}), "MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"template", "", "--input", in}), "MODEL argument is empty");
}

TEST(ModelDirectory, AMillionLayersAreRefusedInOneLine) {
  const std::string model = model_with("layers", "{}");
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, int64_t>>{{"num_hidden_layers", 100000000},
                                                    {"num_hidden_layers", 1000000},
                                                    {"hidden_size", 1000000000},
                                                    {"vocab_size", 500000000}}) {
    Json config = read_json(tiny_llama() + "/config.json");
    write("layers/config.json", config.set(field, value).dump());
    EXPECT_ONE_LINE_ERROR(
        r1_run({"generate", model, "--input", write("any.jsonl", "{\"tokens\": [0]}\n"), "--output", "-"}),
        field);
  }
}

TEST(ModelDirectory, RangesOfPenaltiesAreInPlainWords) {
  const auto with = [](const std::string& option, const std::string& value) {
    return r1_run(
        {"run", tiny_llama(), "--prompt-tokens", write("p.json", "[0, 2]"), "--json", option, value});
  };
  EXPECT_ONE_LINE_ERROR(with("--repetition-penalty", "0"),
                        "--repetition-penalty is 0; it must be between 0.001 and 1000");
  EXPECT_ONE_LINE_ERROR(with("--presence-penalty", "nan"),
                        "--presence-penalty is nan; it must be between -1000 and 1000");
  EXPECT_ONE_LINE_ERROR(with("--frequency-penalty", "5000"),
                        "--frequency-penalty is 5000; it must be between");
  EXPECT_ONE_LINE_ERROR(with("--top-p", "0"), "--top-p is 0; it must be more than 0 and at most 1");
  EXPECT_ONE_LINE_ERROR(with("--temperature", "-1"), "--temperature is -1; it must be between 0 and 1000");
}

// With a shell's ulimit -v (in KiB), the program either runs or says in one line which limit to raise.
TEST(ModelDirectory, ASmallAddressSpaceIsEnoughOrIsNamed) {
#if defined(R1_ADDRESS_SANITIZER)
  GTEST_SKIP() << "AddressSanitizer itself needs terabytes of addresses";
#endif
  const std::string prompt = write("p.json", "[0, 2]"), out = (scratch() / "limited.out").string(),
                    err = (scratch() / "limited.err").string();
  int worked = 0;
  for (const int mib : {48, 64, 96, 128, 192, 256, 512, 1024, 4096}) {
    const std::string command = "ulimit -v " + std::to_string(mib * 1024) + "; exec " R1_BINARY " run " +
                                tiny_llama() + " --prompt-tokens " + prompt +
                                " --json --max-tokens 4 --threads 1 >" + out + " 2>" + err;
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status)) << mib;
    const std::string why = read_file(err);
    if (WEXITSTATUS(status) == 0) {
      ++worked;
    } else if (WEXITSTATUS(status) == 2) {
      EXPECT_NE(why.find("ulimit -v"), std::string::npos) << mib << ": " << why;
      EXPECT_EQ(std::ranges::count(why, '\n'), 1) << why;
    } else {
      EXPECT_EQ(WEXITSTATUS(status), 127) << mib << ": " << why;  // the loader had no room for the libraries
    }
    if (mib >= 512) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << mib << ": " << why;
    }
  }
  EXPECT_GE(worked, 3);
}

}  // namespace
}  // namespace r1::model_directory_test
