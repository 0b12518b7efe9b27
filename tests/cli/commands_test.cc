// What each command promises to print.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/chat.h"
#include "cli/model_notes.h"
#include "data/countdown_question.h"
#include "formats/safetensors.h"
#include "reward/countdown.h"
#include "tests/cli/cli_test_util.h"

namespace r1 {
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

// A real trained model, told what it must say by an independent implementation in double precision.
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

// The tokens that `run` makes of a prompt given this way, greedily.
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
  const Json one = parse_json(r1_run(command).out, "one"), two = parse_json(r1_run(command).out, "two");
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

// Of seeds that nobody chose: a newcomer's first question is answered.
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

// Without --max-tokens and max_new_tokens: all that the context leaves, and no more than the memory has room for.
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

TEST(CliTokenize, BackAndForth) {
  const std::string texts =
      "{\"text\":\"Use 3, 5 and 7 \\u00e9\\ud83d\\ude00\"}\n{\"text\":\"\"}\n{\"text\":4}\n";
  for (const std::string& model : {test::tiny_llama(), test::tiny_llama() + "/tokenizer.json"}) {
    const auto ids = r1_run({"tokenize", model, "--input", "-", "--json"}, texts);
    EXPECT_EQ(ids.status, 2) << "the third row has no text";
    const auto rows = test::rows_of(ids.out);
    ASSERT_EQ(rows.size(), 3u) << ids.out;
    EXPECT_NE(rows[0].at("tokens").at(0).integer(), 0) << "no token may be added";
    EXPECT_EQ(rows[1].at("tokens").size(), 0u);
    EXPECT_EQ(rows[2].get_int("row"), 2);
    const auto text = r1_run({"tokenize", model, "--input", "-", "--decode"}, rows[0].dump() + "\n");
    EXPECT_EQ(text.status, 0) << text.err;
    EXPECT_EQ(parse_json(text.out, "text").get_string("text"), "Use 3, 5 and 7 \u00e9\U0001F600");
  }
}

TEST(CliTokenize, EveryBadRowSaysWhatIsWrongWithIt) {
  const std::string file = test::tiny_llama() + "/tokenizer.json";
  const auto check = [&](std::vector<std::string> flags, const std::string& row, const std::string& wanted) {
    flags.insert(flags.begin(), {"tokenize", file, "--input", write("rows.jsonl", row + "\n")});
    const auto result = r1_run(flags);
    EXPECT_EQ(result.status, 2) << row;
    const auto rows = test::rows_of(result.out);
    ASSERT_EQ(rows.size(), 1u) << row << result.err;
    EXPECT_EQ(rows[0].get_int("row"), 0);
    EXPECT_NE(rows[0].get_string("error").find(wanted), std::string::npos) << rows[0].dump();
  };
  check({}, R"({"txt": "a"})", "rows.jsonl:1: txt is not a known field (did you mean text?)");
  check({}, R"({"text": "a", "colour": 1})", "colour is not a known field; the known fields are text and id");
  check({}, "{\"text\": \"a\xFF\"}", "UTF-8");
  check({}, R"({"text": "\ud800"})", "rows.jsonl:1");
  check({}, R"(["text"])", "an object is wanted");
  check({"--decode"}, R"({"tokens": [1, 999999]})", "tokens[1] is 999999; the vocabulary has the ids 0 to ");
  check({"--decode"}, R"({"tokens": [-1]})", "tokens[0] is -1");
  check({"--decode"}, R"({"tokens": [5000000000]})", "tokens[0] is 5000000000");
  check({"--decode"}, R"({"tokens": [99999999999999999999]})", "tokens[0]");
  check({"--decode"}, R"({"tokens": [1.5]})", "tokens[0]");
  check({"--decode"}, R"({"tokens": [1], "text": "a"})", "text is not a known field");
}

TEST(CliTokenize, SpecialTokensAreAddedSplitAndSkipped) {
  const std::string file = test::tiny_llama() + "/tokenizer.json";
  const auto answer = [&](std::vector<std::string> flags, const std::string& row) {
    flags.insert(flags.begin(), {"tokenize", file, "--input", "-"});
    const auto result = r1_run(flags, row + "\n");
    EXPECT_EQ(result.status, 0) << result.err;
    return parse_json(result.out, "answer");
  };
  const Tokenizer tokenizer = Tokenizer::load(file);
  const auto ids = [](const std::vector<int32_t>& tokens) { return Json::array_of(tokens); };
  const std::string text = R"({"text": "<|User|>hi"})";
  EXPECT_EQ(answer({}, text).at("tokens"), ids(tokenizer.encode("<|User|>hi", false)));
  EXPECT_EQ(answer({"--add-special-tokens"}, text).at("tokens"), ids(tokenizer.encode("<|User|>hi", true)));
  EXPECT_EQ(answer({"--split-special-tokens"}, text).at("tokens"),
            ids(tokenizer.encode_ordinary("<|User|>hi")));
  EXPECT_EQ(answer({}, R"({"id": "a7", "text": ""})").get_string("id"), "a7");
  const std::string row = answer({}, text).dump();
  EXPECT_EQ(answer({"--decode"}, row).get_string("text"), "<|User|>hi");
  EXPECT_EQ(answer({"--decode", "--skip-special-tokens"}, row).get_string("text"), "hi");
  EXPECT_ONE_LINE_ERROR(r1_run({"tokenize", file, "--input", "-", "--skip-special-tokens"}, row), "--decode");
}

TEST(CliTemplate, RendersByTheModelOrByAFile) {
  const std::string rows = R"({"messages":[{"role":"user","content":"hi"}]}
{"messages":[{"role":"user","content":"hi"}],"bos_token":"B","add_generation_prompt":false}
{"messages":4}
)";
  const auto result = r1_run({"template", test::tiny_llama(), "--input", "-"}, rows);
  EXPECT_EQ(result.status, 2);
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 3u) << result.out;
  EXPECT_EQ(out[0].get_string("rendered"), "<bos><|User|>hi<|Assistant|>");
  EXPECT_EQ(out[1].get_string("rendered"), "B<|User|>hi");
  EXPECT_TRUE(out[2].contains("error")) << result.out;
  const auto file =
      r1_run({"template", write("chat.jinja", "{{ eos_token }}!{{ messages[0].content }}"), "--input", "-"},
             "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"eos_token\":\"E\"}\n");
  EXPECT_EQ(file.status, 0) << file.err;
  EXPECT_EQ(parse_json(file.out, "file").get_string("rendered"), "E!hi");
  EXPECT_ONE_LINE_ERROR(r1_run({"template", write("broken.jinja", "{% if %}"), "--input", "-"}, rows),
                        "broken.jinja");
}

TEST(CliTemplate, FurtherFieldsAreVariables) {
  const std::string file =
      write("kwargs.jinja", "{{ enable_thinking }} {{ a }} {{ n }} {{ documents[0].t }} {{ tools is none }}");
  const auto result =
      r1_run({"template", file, "--input", "-"},
             R"({"messages":[{"role":"user"}],"enable_thinking":false,"chat_template_kwargs":{"a":1.0},)"
             R"("n":[1e3,12345678901234567890],"documents":[{"t":2}]}
{"messages":[{"role":"user"}],"a":1,"chat_template_kwargs":{"a":2}}
)");
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 2u) << result.out;
  EXPECT_EQ(out[0].get_string("rendered"), "False 1.0 [1000.0, 12345678901234567890] 2 True");
  EXPECT_NE(out[1].get_string("error").find("a is given"), std::string::npos) << result.out;
}

TEST(CliTemplate, TheDateCanBeFixed) {
  const std::string row = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n";
  const std::string file = write("date.jinja", "{{ strftime_now('%d %b %Y') }}");
  const auto result = r1_run({"template", file, "--input", "-", "--date", "2025-01-20"}, row);
  EXPECT_EQ(test::rows_of(result.out)[0].get_string("rendered"), "20 Jan 2025");
  for (const char* date : {"2025-02-30", "20 Jan 2025", "2025-1-2", "2025-01-20T00:00"}) {
    EXPECT_ONE_LINE_ERROR(r1_run({"template", file, "--input", "-", "--date", date}, row), "YYYY-MM-DD");
  }
}

TEST(CliTemplate, ToolsChooseToolUse) {
  const std::filesystem::path directory = scratch() / "named-templates";
  std::filesystem::create_directories(directory);
  write(
      "named-templates/tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  const auto result = r1_run({"template", directory.string(), "--input", "-"},
                             R"({"messages":[{"role":"user"}]}
{"messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"add"}}]}
)");
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 2u) << result.out << result.err;
  EXPECT_EQ(out[0].get_string("rendered"), "D");
  EXPECT_EQ(out[1].get_string("rendered"), "T");
}

TEST(CliVerify, ExpressionsAndResponses) {
  const auto result = r1_run({"verify", "--input", "-"}, R"J({"gold":"24","pred":"3*(1+7)"}
{"gold":24,"pred":"3*8","options":{"numbers":[3,1,7]}}
{"gold":{"numbers":[3,1,7],"target":24},"pred":"<think>x</think><answer>3*(1+7)</answer>"}
{"gold":{"numbers":[3,1,7],"target":24},"pred":"3*(1+7)"}
{"gold":"x","pred":"1"}
{"reward":"format","text":"<think>a</think><answer>b</answer>"}
{"gold":"-3","pred":"1-4"}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  EXPECT_TRUE(rows[0].get_bool("correct"));
  EXPECT_EQ(rows[0].get_string("why"), "ok");
  EXPECT_FALSE(rows[1].get_bool("correct"));
  EXPECT_EQ(rows[1].get_string("why"), "number_not_given");
  EXPECT_TRUE(rows[2].get_bool("correct"));
  EXPECT_FALSE(rows[3].get_bool("correct"));
  EXPECT_EQ(rows[4].get_int("row"), 4);
  EXPECT_TRUE(rows[4].contains("error"));
  EXPECT_EQ(rows[5].get_number("score"), 1.0);
  EXPECT_TRUE(rows[6].get_bool("correct"));
}

TEST(CliVerify, RowsMayNameATask) {
  const auto result =
      r1_run({"verify", "--input", "-"},
             R"J({"task":"arithmetic","gold":"-7","pred":"<think>x</think><answer>-7</answer>"}
{"task":"arithmetic:3","gold":-7,"pred":"<think>x</think><answer>7</answer>"}
{"task":"equations","gold":{"unknown":"x","value":"7/2"},"pred":"<think>x</think><answer>x = 3.5</answer>"}
{"task":"base_conversion","gold":{"base":16,"digits":"ff"},"pred":"<think></think><answer>FF</answer>"}
{"task":"calendar","gold":{"weekday":"Friday"},"pred":"<think></think><answer>friday</answer>"}
{"task":"knights_knaves","gold":{"Ann":"knight","Bob":"knave"},"pred":"<think></think><answer>Bob is a knave, Ann is a knight</answer>"}
{"task":"countdown3","gold":{"numbers":[3,1,7],"target":24},"pred":"<think>x</think><answer>3*(1+7)</answer>"}
{"task":"sequences","gold":"5","pred":"5"}
{"task":"sequence","gold":"5","pred":"5"}
{"task":"sequences","gold":"five","pred":"5"}
{"task":"sequences","gold":"5","pred":"5","options":{"numbers":[5]}}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 11u) << result.out;
  for (const size_t i : {0, 2, 3, 4, 5, 6}) EXPECT_TRUE(rows[i].get_bool("correct")) << i << result.out;
  EXPECT_EQ(rows[1].get_string("why"), "wrong_value");
  EXPECT_EQ(rows[7].get_string("why"), "no_think");
  EXPECT_NE(rows[8].get_string("error").find("did you mean sequences?"), std::string::npos) << result.out;
  EXPECT_NE(rows[9].get_string("error").find("gold"), std::string::npos) << result.out;
  EXPECT_NE(rows[10].get_string("error").find("options"), std::string::npos) << result.out;
}

TEST(CliVerify, AnUnknownFieldIsAnErrorThatNamesTheNearestKnownOne) {
  const auto result = r1_run({"verify", "--input", "-"}, R"J({"gold":"24","pred":"24"}
{"gold":"24","prde":"24"}
{"gold":"24","pred":"24","opts":{}}
{"task":"arithmetic","gold":"7","pred":"<think></think><answer>7</answer>","comment":"x"}
{"reward":"format","txt":"x"}
{"reward":"format","text":"<think></think><answer>7</answer>","gold":"7"}
{"gold":"24","pred":"24"}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  for (const size_t i : {0, 6}) EXPECT_TRUE(rows[i].get_bool("correct")) << i;
  EXPECT_EQ(rows[1].get_int("row"), 1);
  EXPECT_EQ(rows[1].get_string("error"), "unknown field prde (did you mean pred?)");
  EXPECT_TRUE(rows[2].get_string("error").starts_with("unknown field opts (")) << result.out;
  EXPECT_EQ(rows[3].get_string("error"),
            "unknown field comment (known: task, gold, pred, options, prompt_opened)");
  EXPECT_EQ(rows[4].get_string("error"), "unknown field txt (did you mean text?)");
  EXPECT_TRUE(rows[5].get_string("error").starts_with("unknown field gold (")) << result.out;
}

TEST(CliVerify, GoldsAreReadAsTheyAreWritten) {
  const auto result =
      r1_run({"verify", "--input", "-"},
             R"J({"gold":123456789012345678901234567890,"pred":"123456789012345678901234567890"}
{"gold":123456789012345678901234567890,"pred":"123456789012345678901234567891"}
{"gold":0.1000,"pred":"1/10"}
{"gold":"0.4","pred":".4"}
{"task":"arithmetic","gold":"073","pred":"<think>x</think><answer>73</answer>"}
{"task":"arithmetic","gold":"7425000","pred":"<think>x</think>\\boxed{7,425,000}"}
)J");
  EXPECT_EQ(result.status, 0) << result.out;
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 6u) << result.out;
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(rows[i].get_bool("correct"), i != 1) << i << result.out;
}

std::vector<float> tensor(const SafetensorsFile& file, const std::string& name, std::vector<int64_t> shape) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  EXPECT_EQ(info->shape, shape) << name;
  std::vector<float> values(static_cast<size_t>(info->count()));
  read_as_f32(file, *info, values);
  return values;
}

TEST(CliScore, LogitsAndLogProbsAgree) {
  const std::string out = (scratch() / "logits.safetensors").string(),
                    last = (scratch() / "last.safetensors").string();
  const std::string logprobs = (scratch() / "lp.jsonl").string();
  const std::string input = write("score.jsonl",
                                  "{\"tokens\":[0,70,71,72,90,91]}\n{\"tokens\":[0,1,2],\"from\":9}\n{"
                                  "\"tokens\":[5,6,7],\"from\":2}\n{\"tokens\":[8]}\n");
  const auto result =
      r1_run({"score", test::tiny_llama(), "--input", input, "--output", out, "--logprobs", logprobs});
  EXPECT_EQ(result.status, 2) << "the second row is bad";
  const auto rows = test::rows_of(read_file(logprobs));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_TRUE(rows[1].contains("error"));
  EXPECT_EQ(rows[2].at("logprobs").size(), 1u);
  EXPECT_EQ(rows[3].at("logprobs").size(), 0u);
  const SafetensorsFile file(out);
  EXPECT_EQ(file.tensors().size(), 3u);
  const int64_t V = read_json(test::tiny_llama() + "/config.json").get_int("vocab_size");
  const std::vector<float> logits = tensor(file, "logits.0", {6, V});
  tensor(file, "logits.2", {3, V});
  tensor(file, "logits.3", {1, V});
  const std::vector<int> tokens{0, 70, 71, 72, 90, 91};
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0;
    const float* z = logits.data() + t * static_cast<size_t>(V);
    for (int64_t n = 0; n < V; ++n) sum += std::exp(static_cast<double>(z[n]));
    const double want = static_cast<double>(z[tokens[t + 1]]) - std::log(sum);
    const double got = std::strtod(rows[0].at("logprobs").at(t).string().c_str(), nullptr);
    EXPECT_NEAR(got, want, 1e-4) << "token " << t;
  }
  ASSERT_EQ(
      r1_run({"score", test::tiny_llama(), "--input", input, "--output", last, "--logits-last", "2"}).status,
      2);
  const SafetensorsFile tail(last);
  const std::vector<float> two = tensor(tail, "logits.0", {2, V});
  EXPECT_TRUE(std::equal(two.begin(), two.end(), logits.end() - 2 * V));
}

// The gradient is that of the loss the file states: checked by a central difference on one weight.
TEST(CliScore, GradientsMatchTheLoss) {
  for (const auto config : {test::llama_config, test::deepseek_config}) {
    const bool deepseek = config == test::deepseek_config;
    const auto model = test::make_model(deepseek ? "gradient-deepseek" : "gradient-llama", config);
    const std::string input =
        write("grad.jsonl", "{\"tokens\":[0,70,71,72,90,91]}\n{\"tokens\":[5,6,7,8],\"from\":3}\n");
    const std::string grads = (scratch() / "grads.safetensors").string();
    const auto loss_at = [&] {
      const auto result = r1_run({"score", model.string(), "--input", input, "--gradients", grads});
      EXPECT_EQ(result.status, 0) << result.err;
      const SafetensorsFile file(grads);
      return static_cast<double>(tensor(file, "loss", {}).at(0));
    };
    const double loss = loss_at();
    const std::string name = "model.norm.weight";
    const std::vector<float> g = tensor(SafetensorsFile(grads), "grad." + name, {32});
    EXPECT_GT(loss, 0);
    Model weights = Model::load(model);
    for (Parameter& p : weights.parameters()) {
      if (p.name == name) p.value.f32()[3] += 0.02f;
    }
    weights.save(model, DType::f32);
    const double up = loss_at();
    for (Parameter& p : weights.parameters()) {
      if (p.name == name) p.value.f32()[3] -= 0.04f;
    }
    weights.save(model, DType::f32);
    const double down = loss_at();
    EXPECT_NEAR((up - down) / 0.04, static_cast<double>(g[3]),
                2e-3 + 0.02 * std::fabs(static_cast<double>(g[3])));
    // Tied weights appear once; a router's selection bias has no gradient.
    const SafetensorsFile file(grads);
    EXPECT_EQ(file.find("grad.lm_head.weight") != nullptr, !deepseek);
    for (const TensorInfo& info : file.tensors())
      EXPECT_EQ(info.name.find("e_score_correction_bias"), std::string::npos);
  }
}

TEST(CliEval, ARowThatCannotBeReadIsCountedAndNamedAndTheRestGoOn) {
  const std::string bad = "{\"task\":\"arithmetic\",\"question\":\"Q\",\"gold\":\"seven\"}\n";
  const std::string file = write("spoilt.jsonl", "{\"question\":\"1+1?\",\"answer\":\"02\"}\n" + bad +
                                                     "{\"numbers\":[1,2],\"target\":3}\n");
  const auto result =
      r1_run({"eval", test::tiny_llama(), "--task", file, "--samples", "1", "--max-tokens", "4", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "eval");
  EXPECT_EQ(json.get_int("problems"), 2);
  EXPECT_EQ(json.get_int("rows_refused"), 1);
  EXPECT_TRUE(json.at("row_errors").at(0).string().starts_with(file + ":2: gold is no number")) << result.out;
  EXPECT_NE(
      result.err.find("r1: 1 of 3 rows cannot be read and are left out; the first: " + file + ":2: gold"),
      std::string::npos)
      << result.err;
  EXPECT_EQ(json.get_number("low"), 0.0);
  EXPECT_NEAR(json.get_number("high"), 0.657629, 1e-6) << "0 of 2: Wilson's";
}

TEST(CliEval, CountsEverySampleAndRepeats) {
  const std::string rows = (scratch() / "eval.jsonl").string();
  const std::vector<std::string> command{"eval", test::tiny_llama(), "--task", "countdown3", "--problems",
                                         "5",    "--samples",        "3",      "--json",     "--max-tokens",
                                         "8",    "--output",         rows};
  const auto result = r1_run(command);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "eval");
  EXPECT_EQ(json.get_int("problems"), 5);
  EXPECT_EQ(json.get_number("pass_at_1"), 0.0) << "random weights solve nothing";
  EXPECT_LE(json.get_number("pass_at_1"), json.get_number("pass_at_3"));
  const std::string first = read_file(rows);
  EXPECT_EQ(test::rows_of(first).size(), 15u);
  EXPECT_EQ(r1_run(command).status, 0);
  EXPECT_EQ(read_file(rows), first);
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", test::tiny_llama(), "--task", "countdwn3"}),
                        "did you mean countdown3?");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", test::tiny_llama(), "--task", "calendar:4"}),
                        "did you mean calendar:3?");
}

TEST(CliEval, KnowsEveryTask) {
  for (const char* task : {"arithmetic:1", "equations", "base_conversion", "calendar", "knights_knaves:2",
                           "sequences", "word_problems", "game24"}) {
    const auto result = r1_run({"eval", test::tiny_llama(), "--task", task, "--problems", "2", "--samples",
                                "1", "--max-tokens", "4", "--json"});
    ASSERT_EQ(result.status, 0) << task << result.err;
    EXPECT_EQ(parse_json(result.out, "eval").get_string("task"), task);
  }
}

}  // namespace
}  // namespace r1
