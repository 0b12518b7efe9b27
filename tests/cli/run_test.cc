// r1 run without a conversation: one prompt, a pipe, token ids.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/chat.h"
#include "cli/model_notes.h"
#include "data/countdown_question.h"
#include "reward/countdown.h"
#include "tests/cli/cli_test_util.h"

namespace r1::run_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

TEST(CliRun, PromptTokensAsJson) {
  const std::string file = write("ids.json", "[0, 70, 71]");
  const auto result = r1_run({"run", test::tiny_llama(), "--prompt-tokens", file, "--json", "--temperature",
                              "0", "--max-tokens", "9", "--ignore-eos"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "out");
  EXPECT_EQ(json.at("tokens").size(), 9u);
  EXPECT_EQ(json.get_string("finish_reason"), "length");
  const auto other =
      r1_run({"run", test::tiny_llama(), "--prompt-tokens", write("ids2.json", "{\"tokens\": [0, 70, 71]}"),
              "--json", "--temperature", "0", "--max-tokens", "9", "--ignore-eos"});
  EXPECT_EQ(parse_json(other.out, "other").at("tokens").dump(), json.at("tokens").dump());
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "--prompt-tokens", file, "-p", "x"}), "not both");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "--prompt-tokens", file, "--system", "x"}),
                        "--system");
}

// A trained model must give the text that an independent implementation in double precision gives.
TEST(CliRun, AgreesWithTheReferenceOfATrainedModel) {
  const char* data = std::getenv("R1_TEST_DATA");
  const std::filesystem::path model =
      std::filesystem::path(data != nullptr ? data : R1_SOURCE_DIR "/../shared/data") / "weights/stories260K";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "NO TEST DATA: " << model << " is missing";
  const Json cases = read_json(model / "reference_float64.json");
  for (const Json& one : cases.items()) {
    const std::vector<Json>& want = one.at("greedy_ids").items();
    const size_t given = one.at("prompt_ids").size();
    const std::string file = write("story.json", one.at("prompt_ids").dump());
    const auto result = r1_run({"run", model.string(), "--prompt-tokens", file, "--json", "--temperature",
                                "0", "--max-tokens", std::to_string(want.size() - given)});
    ASSERT_EQ(result.status, 0) << result.err;
    const Json got = parse_json(result.out, "out");
    ASSERT_EQ(got.at("tokens").size(), want.size() - given);
    for (size_t i = given; i < want.size(); ++i) {
      ASSERT_EQ(got.at("tokens").at(i - given).integer(), want[i].integer()) << "token " << i;
    }
  }
}

TEST(CliRun, TokenIdsNeedNoTokenizer) {
  const auto model = test::make_model("bare");
  const std::string file = write("ids.json", "[0, 70, 71]");
  const std::vector<std::string> command{
      "run", model.string(), "--prompt-tokens", file, "--json", "--seed", "3", "--max-tokens", "9"};
  const Json with = parse_json(r1_run(command).out, "with");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) std::filesystem::remove(model / name);
  const auto result = r1_run(command);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json without = parse_json(result.out, "without");
  EXPECT_EQ(without.at("tokens").dump(), with.at("tokens").dump());
  EXPECT_EQ(without.get_string("text"), "");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", model.string(), "-p", "hello"}), "tokenizer.json");
}

TEST(CliRun, OnePromptAppliesTheChatTemplate) {
  const std::string model = test::tiny_llama();
  const std::vector<std::string> rest{"--json", "--temperature", "0", "--max-tokens", "12"};
  std::vector<std::string> run{"run", model, "-p", "make 24"};
  run.insert(run.end(), rest.begin(), rest.end());
  const auto chat = r1_run(run);
  ASSERT_EQ(chat.status, 0) << chat.err;
  const auto generated =
      r1_run({"generate", model, "--input", "-", "--output", "-", "--temperature", "0", "--max-tokens", "12"},
             "{\"prompt\":\"<|User|>make 24<|Assistant|>\"}\n");
  ASSERT_EQ(generated.status, 0) << generated.err;
  const Json row = parse_json(generated.out, "generated");
  EXPECT_EQ(row.at("prompt_tokens").at(0).integer(), 0) << "no begin-of-sentence token";
  EXPECT_EQ(parse_json(chat.out, "chat").at("tokens").dump(), row.at("tokens").dump());
}

// Returns the tokens that `run` generates greedily for a prompt given in this way.
std::string tokens_of(const std::vector<std::string>& more, const std::string& input = "") {
  std::vector<std::string> words{"run", test::tiny_llama(), "--json", "--temperature",
                                 "0",   "--max-tokens",     "6"};
  words.insert(words.end(), more.begin(), more.end());
  const auto result = r1_run(words, input);
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "run").at("tokens").dump();
}

TEST(CliRun, AllOfAPipeIsOnePrompt) {
  const std::string lines = tokens_of({"-p", "make 24\n\nmake 6"});
  EXPECT_NE(lines, tokens_of({"-p", "make 24"}));
  EXPECT_EQ(tokens_of({}, "make 24\n\nmake 6\n"), lines);
  EXPECT_EQ(tokens_of({"--file", "-"}, "make 24\n\nmake 6\n"), lines);
  EXPECT_EQ(tokens_of({"--file", write("prompt.txt", "make 24\n\nmake 6")}), lines);
  EXPECT_EQ(tokens_of({"-p", "make 24", "-f", "-"}, "make 6\n"), lines)
      << "the file's text follows the prompt's";
  EXPECT_EQ(tokens_of({"-p", "make 24"}, "make 6\n"), tokens_of({"-p", "make 24"}))
      << "-p leaves the input alone";
  const auto plain = r1_run({"run", test::tiny_llama(), "--max-tokens", "4"}, "make 24\n");
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_TRUE(plain.out.ends_with("\n"));
  EXPECT_EQ(plain.out.find('\x1b'), std::string::npos) << "escape codes in a pipe";
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama()}, "\n"), "standard input: is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama()}, "caf\xe9"),
                        "standard input: byte 3 is not UTF-8");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "-p", "\xff"}), "the prompt: byte 0 is not UTF-8");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "-p", " "}), "the prompt is empty");
}

TEST(CliRun, SaysThatAPipeWasNotRead) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "text", 4), 4);
  const auto result = r1_run({"run", test::tiny_llama(), "-p", "make 24", "--max-tokens", "2"}, "", "",
                             fmt::format("/dev/fd/{}", ends[0]));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("standard input was not read, because -p is given; --file -"), std::string::npos)
      << result.err;
}

TEST(CliRun, JsonTellsThoughtFromAnswerAndWhatTheyCost) {
  const auto model = test::make_scripted_model("json-thinks", "<think>hm?</think>yes");
  const auto result = r1_run({"run", model.string(), "-p", "hello", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "run");
  EXPECT_EQ(json.get_string("text"), "<think>hm?</think>yes");
  EXPECT_EQ(json.get_string("reasoning"), "hm?");
  EXPECT_EQ(json.get_string("content"), "yes");
  EXPECT_EQ(json.get_string("finish_reason"), "stop");
  const Json& usage = json.at("usage");
  EXPECT_EQ(usage.get_int("completion_tokens"), static_cast<int64_t>(json.at("tokens").size()));
  EXPECT_EQ(usage.get_int("total_tokens"),
            usage.get_int("prompt_tokens") + usage.get_int("completion_tokens"));
  EXPECT_GT(usage.get_int("prompt_tokens"), 0);
  EXPECT_GE(json.at("timings").get_number("generation_s"), 0.0);
  const auto hidden = r1_run({"run", model.string(), "-p", "hello", "--json", "--hide-thinking"});
  const Json without = parse_json(hidden.out, "hidden");
  EXPECT_EQ(without.get_string("text"), "yes");
  EXPECT_FALSE(without.contains("reasoning"));
  const auto plain = test::make_scripted_model("json-plain", "yes");
  EXPECT_TRUE(parse_json(r1_run({"run", plain.string(), "-p", "hello", "--json"}).out, "plain")
                  .at("reasoning")
                  .is_null());
}

TEST(CliRun, TheSeedIsRandomUnlessGivenAndRepeatsTheAnswer) {
  const std::vector<std::string> command{"run",    test::tiny_llama(), "-p", "make 24",
                                         "--json", "--max-tokens",     "9"};
  std::vector<std::string> unseeded = command;
  unseeded.emplace_back(test::kNoSeed);
  const Json one = parse_json(r1_run(unseeded).out, "one"), two = parse_json(r1_run(unseeded).out, "two");
  EXPECT_NE(one.get_int("seed"), two.get_int("seed")) << "equal once in 2^32 runs";
  std::vector<std::string> again = command;
  again.insert(again.end(), {"--seed", std::to_string(one.get_int("seed"))});
  const Json repeated = parse_json(r1_run(again).out, "again");
  EXPECT_EQ(repeated.at("tokens").dump(), one.at("tokens").dump());
  EXPECT_EQ(repeated.get_int("seed"), one.get_int("seed"));
  const auto verbose =
      r1_run({"run", test::tiny_llama(), "-p", "make 24", "--seed", "5", "--max-tokens", "3", "--verbose"});
  EXPECT_NE(verbose.err.find("tokens/s; seed 5"), std::string::npos) << verbose.err;
}

// The golden's head has random weights, so few of its guesses are right; no token depends on them.
TEST(CliRun, TheMtpHeadGuessesUnlessLookaheadIsOff) {
  const std::string model = R1_SOURCE_DIR "/tests/golden/models-mtp";
  const std::string prompt = (test::scratch() / "mtp-prompt.json").string();
  write_file_atomically(prompt, "[5, 17, 30, 8]");
  const auto run = [&](const char* lookahead) {
    return r1_run({"run", model, "--prompt-tokens", prompt, "--json", "--max-tokens", "60", "--temperature",
                   "1", "--seed", "4", "--ignore-eos", "--verbose", "--lookahead", lookahead});
  };
  const auto with = run("7"), without = run("0");
  EXPECT_EQ(with.status, 0) << with.err;
  EXPECT_EQ(parse_json(with.out, "with").at("tokens").dump(),
            parse_json(without.out, "without").at("tokens").dump());
  EXPECT_NE(with.err.find(" guesses of the MTP head right; seed 4"), std::string::npos) << with.err;
  EXPECT_EQ(without.err.find("guesses of"), std::string::npos) << without.err;
  EXPECT_NE(without.err.find("layer 2 predicts further tokens (num_nextn_predict_layers) and is not used"),
            std::string::npos)
      << without.err;
  EXPECT_NE(run("65").err.find("--lookahead is 65; it must be between 0 and 64"), std::string::npos);
  const auto broken =
      r1_run({"run", R1_SOURCE_DIR "/tests/golden/models-fp8", "--prompt-tokens", prompt, "--json"});
  EXPECT_EQ(broken.status, 2);
  EXPECT_NE(broken.err.find("(layer 2 is the MTP head; --lookahead 0 does without it)"), std::string::npos)
      << broken.err;
}

// With seeds that nobody chose, a newcomer's first question is answered.
TEST(CliRun, TheGuidesFirstExampleWorksWith19Of20Seeds) {
  const std::filesystem::path root = R1_SOURCE_DIR;
  const std::string guide = read_file(root / "docs/guide.md");
  const std::string before = "r1 run -p \"";
  const size_t begin = guide.find(before, guide.find("## Talk")) + before.size();
  const std::string question = guide.substr(begin, guide.find('"', begin) - begin);
  const auto problem = parse_question(question);
  ASSERT_TRUE(problem) << question;
  EXPECT_EQ(question, kExampleQuestion) << "the greeting has another one";
  EXPECT_TRUE(is_held_out(problem->numbers)) << "r1-nano was trained on it";
  int right = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    const auto result = r1_run({"run", (root / "models/r1-nano").string(), "-p", question, "--json", "--seed",
                                std::to_string(seed)});
    ASSERT_EQ(result.status, 0) << result.err;
    right += verify_countdown(*problem, parse_json(result.out, "run").get_string("text")).correct ? 1 : 0;
  }
  EXPECT_GE(right, 19);
}

TEST(CliRun, ShippedModelsSayWhatTheyKnow) {
  for (const char* name : {"r1-nano", "r1-nano-base", "r1-nano-student-base"}) {
    const ModelNotes notes = read_model_notes(std::filesystem::path(R1_SOURCE_DIR) / "models" / name);
    EXPECT_TRUE(notes.single_turn) << name;
    EXPECT_TRUE(notes.knows_only_countdown()) << name;
    EXPECT_TRUE(notes.about.starts_with(std::string("This is ") + name)) << notes.about;
  }
}

TEST(CliRun, ACutAnswerSaysSoAndWhatHelps) {
  const auto model = test::make_scripted_model("cut", "abcdefgh");
  const auto cut = r1_run({"run", model.string(), "-p", "hello", "--max-tokens", "3"});
  EXPECT_EQ(cut.status, 0);
  EXPECT_EQ(cut.out, "abc\n");
  EXPECT_EQ(cut.err, "r1: the answer was cut after 3 tokens: a larger --max-tokens allows longer answers\n");
  EXPECT_EQ(r1_run({"run", model.string(), "-p", "hello"}).err, "");
  write_file_atomically(model / "generation_config.json", "{\"max_new_tokens\": 4}");
  EXPECT_EQ(r1_run({"run", model.string(), "-p", "hello"}).err,
            "r1: the answer was cut after 4 tokens: --max-tokens 16 allows longer ones\n");
}

// Without --max-tokens and max_new_tokens, an answer may take all that the context leaves and the memory has
// room for.
TEST(CliRun, TheContextBoundsAnAnswer) {
  const std::vector<std::string> command{"run",          test::tiny_llama(), "-p", "make 24",
                                         "--ignore-eos", "--temperature",    "0"};
  const auto full = r1_run(command);
  EXPECT_NE(full.err.find("the model's context of 256 tokens is full"), std::string::npos) << full.err;
  std::vector<std::string> json = command;
  json.push_back("--json");
  EXPECT_EQ(parse_json(r1_run(json).out, "full").at("usage").get_int("total_tokens"), 256);
  const auto model = test::make_model("long-context");
  Json config = read_json(model / "config.json");
  config.set("max_position_embeddings", 20000);
  write_file_atomically(model / "config.json", config.dump(2));
  const auto longest =
      r1_run({"run", model.string(), "-p", "make 24", "--ignore-eos", "--temperature", "0", "--json"});
  EXPECT_EQ(parse_json(longest.out, "longest").at("tokens").size(), 8192u);
  const auto bounded =
      r1_run({"run", model.string(), "-p", "make 24", "--ignore-eos", "--memory-limit", "3M"});
  EXPECT_EQ(bounded.status, 0) << bounded.err;
  EXPECT_NE(bounded.err.find("a larger --memory-limit allows longer ones"), std::string::npos) << bounded.err;
}

TEST(CliRun, MemoryLimitBoundsTheCache) {
  const std::string file = write("ids.json", "[0, 70, 71]");
  const auto enough = r1_run(
      {"run", test::tiny_llama(), "--prompt-tokens", file, "--json", "--memory-limit", "64M", "--seed", "3"});
  EXPECT_EQ(enough.status, 0) << enough.err;
  const auto without = r1_run({"run", test::tiny_llama(), "--prompt-tokens", file, "--json", "--seed", "3"});
  EXPECT_EQ(parse_json(enough.out, "enough").at("tokens").dump(),
            parse_json(without.out, "without").at("tokens").dump());
}

}  // namespace
}  // namespace r1::run_test
