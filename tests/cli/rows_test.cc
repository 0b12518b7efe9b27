// No field of a row is ignored silently, and the row's values have precedence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::rows_test {
namespace {

using test::r1_run;
using test::rows_of;
using test::write;

std::vector<Json> generate(const std::string& rows, const std::vector<std::string>& flags = {},
                           const std::string& model = test::tiny_llama()) {
  std::vector<std::string> words{"generate", model, "--input", "-", "--output", "-", "--logprobs"};
  if (std::ranges::find(flags, "--max-tokens") == flags.end())
    words.insert(words.end(), {"--max-tokens", "9"});
  words.insert(words.end(), flags.begin(), flags.end());
  const auto result = r1_run(words, rows);
  EXPECT_TRUE(result.status == 0 || result.status == 2) << result.err;
  return rows_of(result.out);
}

std::string error_of(const std::string& row) {
  const auto rows = generate(row + "\n");
  if (rows.size() != 1 || !rows[0].contains("error")) return "no error: " + row;
  return rows[0].get_string("error");
}

void expect_has(const std::string& text, const std::string& needle) {
  EXPECT_NE(text.find(needle), std::string::npos) << text << "\nlacks: " << needle;
}

TEST(CliRows, UnknownFieldsNameTheNearest) {
  expect_has(error_of(R"({"prompt": "a", "temprature": 1})"),
             "temprature is not a known field (did you mean temperature?)");
  expect_has(error_of(R"({"prompt": "a", "max_token": 1})"), "did you mean max_tokens?");
  expect_has(error_of(R"({"prompt": "a", "colour": 1})"), "the known fields are prompt, ");
  const auto score =
      r1_run({"score", test::tiny_llama(), "--input", "-"}, "{\"tokens\":[0,70],\"form\":1}\n");
  EXPECT_EQ(score.status, 2);
  expect_has(score.out, "form is not a known field (did you mean from?)");
  const auto tokenize =
      r1_run({"tokenize", test::tiny_llama(), "--input", "-"}, "{\"text\":\"a\",\"txet\":1}\n");
  EXPECT_EQ(tokenize.status, 2);
  expect_has(tokenize.out, "did you mean text?");
  const auto verify = r1_run({"verify", "--input", "-"}, "{\"gold\":\"1\",\"pred\":\"1\",\"option\":{}}\n");
  EXPECT_EQ(verify.status, 2);
  expect_has(verify.out, "did you mean options?");
}

// A row whose settings leave no token to draw is an error of its own; the other rows have their samples.
TEST(CliRows, ARowThatCannotBeAnsweredStopsNoOther) {
  const int64_t vocab = Model::load(test::tiny_llama()).config().vocab_size;
  std::string every = "0";
  for (int64_t id = 1; id < vocab; ++id) every += "," + std::to_string(id);
  const std::string plain = "{\"tokens\":[0,70]}\n";
  const std::string stuck = "{\"tokens\":[0,70],\"id\":\"x\",\"suppress_tokens\":[" + every + "]}\n";
  const auto result = r1_run({"generate", test::tiny_llama(), "--input", "-", "--output", "-", "--samples",
                              "2", "--max-tokens", "9"},
                             plain + stuck + plain);
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("1 of 3 rows"), std::string::npos) << result.err;
  const auto rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 6u);
  const auto alone = generate(plain, {"--samples", "2"});
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(rows[i].get_int("row"), static_cast<int64_t>(i / 2));
    EXPECT_EQ(rows[i].get_int("sample"), static_cast<int64_t>(i % 2));
    EXPECT_EQ(rows[i].contains("error"), i / 2 == 1);
    if (i < 2) {
      EXPECT_EQ(rows[i].at("tokens").dump(), alone[i].at("tokens").dump());
    }
  }
  EXPECT_NE(rows[2].get_string("error").find("forbid every token after 0"), std::string::npos);
  EXPECT_EQ(rows[2].get_string("id"), "x");
}

TEST(CliRows, IdsComeBackAsTheyWereWritten) {
  const std::vector<std::string> ids{"\"007\"", "1.0",    "12345678901234567890", "1e3", "null", "true",
                                     "-3",      "\"a b\""};
  std::string rows;
  for (const std::string& id : ids) rows += "{\"tokens\":[0,70],\"id\":" + id + "}\n";
  const auto result = r1_run({"generate", test::tiny_llama(), "--input", "-", "--output", "-", "--samples",
                              "2", "--max-tokens", "2"},
                             rows + "{\"tokens\":[-1],\"id\":2.50}\n");
  std::vector<std::string> lines;
  for (size_t begin = 0, end; (end = result.out.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.push_back(result.out.substr(begin, end - begin));
  ASSERT_EQ(lines.size(), 2 * ids.size() + 1);
  for (size_t i = 0; i < ids.size(); ++i) {
    for (const size_t line : {2 * i, 2 * i + 1}) expect_has(lines[line], "\"id\":" + ids[i] + ",");
  }
  expect_has(lines.back(), "\"id\":2.50");
  expect_has(error_of(R"({"prompt": "a", "id": [1]})"), "id must be a string, a number, true, false or null");
  const auto scored =
      r1_run({"score", test::tiny_llama(), "--input", "-"}, "{\"tokens\":[0,70],\"id\":1.50}\n");
  expect_has(scored.out, "\"id\":1.50,");
}

// The settings of a row act as the flags do.
TEST(CliRows, SettingsOfARowEqualThoseOfTheCommand) {
  const auto by_row = generate(
      R"({"tokens":[0,70,71]}
{"tokens":[0,70,71],"temperature":0}
{"tokens":[0,70,71],"temperature":3.5,"top_k":5,"top_p":0.9,"min_p":0.01,"seed":11,"max_tokens":4}
{"tokens":[0,70,71],"n":3,"ignore_eos":true}
{"tokens":[0,70,71],"samples":1,"temperature":null}
)");
  ASSERT_EQ(by_row.size(), 7u);
  const auto with_flags = [&](size_t at, const std::vector<std::string>& flags) {
    // The rows have the same index in the input, so that their random numbers are equal.
    std::string rows;
    for (int64_t i = 0; i <= by_row[at].get_int("row"); ++i) rows += "{\"tokens\":[0,70,71]}\n";
    for (const Json& row : generate(rows, flags)) {
      if (row.get_int("row") != by_row[at].get_int("row") ||
          row.get_int("sample") != by_row[at].get_int("sample"))
        continue;
      EXPECT_EQ(row.dump(), by_row[at].dump());
      return;
    }
    ADD_FAILURE() << "no row " << at;
  };
  with_flags(0, {});
  with_flags(1, {"--temperature", "0"});
  with_flags(2, {"--temperature", "3.5", "--top-k", "5", "--top-p", "0.9", "--min-p", "0.01", "--seed", "11",
                 "--max-tokens", "4"});
  EXPECT_LE(by_row[2].at("tokens").size(), 4u);
  for (const size_t sample : {3, 4, 5}) with_flags(sample, {"--ignore-eos", "--samples", "3"});
  with_flags(6, {});
}

TEST(CliRows, TheSeedOfARowStandsForTheCommands) {
  const std::string plain = "{\"tokens\":[0,70,71]}\n", seeded = "{\"tokens\":[0,70,71],\"seed\":5}\n";
  const auto rows = generate(plain + seeded + seeded, {"--seed", "4", "--temperature", "3"});
  const auto all = generate(plain + plain + plain, {"--seed", "5", "--temperature", "3"});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_NE(rows[0].dump(), all[0].dump());
  EXPECT_EQ(rows[1].dump(), all[1].dump());
  EXPECT_EQ(rows[2].dump(), all[2].dump());
}

TEST(CliRows, StopTokensOfARowEndItsAnswer) {
  const auto free = generate("{\"tokens\":[0,70,71],\"temperature\":0}\n");
  ASSERT_EQ(free.size(), 1u);
  const int64_t second = free[0].at("tokens").at(1).integer();
  const auto cut = generate("{\"tokens\":[0,70,71],\"temperature\":0,\"stop_token_ids\":[" +
                            std::to_string(second) + "]}\n");
  EXPECT_LE(cut.at(0).at("tokens").size(), 2u);
  EXPECT_EQ(cut.at(0).get_string("finish_reason"), "stop");
}

TEST(CliRows, ValuesOutOfRangeAreErrorsOfTheirRow) {
  const auto bad = [](const std::string& fields) { return error_of("{\"tokens\":[0,70]," + fields + "}"); };
  expect_has(bad("\"temperature\":-1"), "temperature is -1; it must be between 0 and 1000");
  expect_has(bad("\"temperature\":\"hot\""), "temperature is a string");
  expect_has(bad("\"top_p\":1.5"), "top_p is 1.5");
  expect_has(bad("\"max_tokens\":0"), "max_tokens is 0; it must be a whole number between 1 and 256");
  expect_has(bad("\"max_tokens\":1000000"), "max_tokens is 1000000");
  expect_has(bad("\"max_tokens\":2.5"), "max_tokens is 2.5");
  expect_has(bad("\"samples\":0"), "samples is 0");
  expect_has(bad("\"n\":1000000000"), "n is 1000000000");
  expect_has(bad("\"n\":2,\"samples\":2"), "give one of the two");
  expect_has(bad("\"seed\":-1"), "seed is -1");
  expect_has(bad("\"seed\":99999999999999999999"), "seed is 99999999999999999999");
  expect_has(bad("\"seed\":1,\"key\":[1,2,3]"), "give one of the two");
  expect_has(bad("\"key\":[1,2]"), "key must be [seed, step, prompt]");
  expect_has(bad("\"stop_token_ids\":[99999]"), "99999");
  expect_has(bad("\"tools\":[]"), "only \"messages\" uses it");
  expect_has(bad("\"continue_final_message\":true"), "only \"messages\" uses it");
  expect_has(error_of("{\"tokens\":[0,99999]}"), "99999");
  expect_has(error_of("{\"tokens\":[0,5000000000]}"), "5000000000");
  expect_has(error_of("{\"tokens\":[]}"), "no tokens");
  expect_has(error_of("{\"messages\":[]}"), "messages");
  expect_has(error_of("{\"messages\":3}"), "messages");
  expect_has(error_of("{\"prompt\":null}"), "exactly one of");
  expect_has(error_of("{\"prompt\":\"\xff\"}"), "invalid UTF-8");
  expect_has(error_of("[1]"), "object");
}

std::string chat_model() {
  static const std::string path = [] {
    const auto directory = test::make_model("chatty");
    Json config = read_json(directory / "tokenizer_config.json");
    config.set(
        "chat_template",
        "{% for m in messages %}<|User|>{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.name "
        "}} "
        "{{ c.function.arguments | tojson }}]{% endfor %}{% if m.reasoning_content %}({{ m.reasoning_content "
        "}}){% endif %}{% endfor %}{% if tools %} tools {{ tools | tojson }}{% endif %}{% if enable_thinking "
        "is "
        "defined %} thinking {{ enable_thinking }}{% endif %}{% if add_generation_prompt %}<|Assistant|>{% "
        "endif %}");
    write_file_atomically(directory / "tokenizer_config.json", config.dump(2));
    return directory.string();
  }();
  return path;
}

// Returns the text of the prompt that a row becomes.
std::string prompt_text(const std::string& row) {
  const auto rows = generate(row + "\n", {}, chat_model());
  if (rows.size() != 1 || !rows[0].contains("prompt_tokens"))
    return rows.empty() ? "nothing" : rows[0].dump();
  const std::string ids = "{\"tokens\":" + rows[0].at("prompt_tokens").dump() + "}\n";
  return parse_json(r1_run({"tokenize", chat_model(), "--input", "-", "--decode"}, ids).out, "text")
      .get_string("text");
}

TEST(CliRows, AllThatARowSaysReachesTheTemplate) {
  EXPECT_EQ(prompt_text(R"({"messages":[{"role":"user","content":"hi"}]})"), "<|User|>hi<|Assistant|>");
  EXPECT_EQ(
      prompt_text(
          R"({"messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"enable_thinking":false}})"),
      "<|User|>hi thinking False<|Assistant|>");
  EXPECT_EQ(
      prompt_text(
          R"({"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","n":1.0,"big":12345678901234567890}]})"),
      "<|User|>hi tools [{\"name\": \"f\", \"n\": 1.0, \"big\": 12345678901234567890}]<|Assistant|>");
  EXPECT_EQ(
      prompt_text(
          R"({"messages":[{"role":"assistant","content":"x","reasoning_content":"why","tool_calls":[{"function":{"name":"f","arguments":{"a":2.50}}}]}]})"),
      "<|User|>x[f {\"a\": 2.5}](why)<|Assistant|>");
  EXPECT_EQ(prompt_text(R"({"messages":[{"role":"user","content":"hi"}],"add_generation_prompt":false})"),
            "<|User|>hi");
}

TEST(CliRows, AnAnswerThatIsBegunGoesOn) {
  EXPECT_EQ(
      prompt_text(
          R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"let "}],"continue_final_message":true})"),
      "<|User|>a<|User|>let ");
  expect_has(error_of(R"({"messages":[{"role":"user","content":"a"}],"continue_final_message":true})"),
             "must be the assistant's");
  expect_has(error_of(R"({"messages":[{"role":"assistant","content":""}],"continue_final_message":true})"),
             "cannot go on");
  expect_has(
      error_of(
          R"({"messages":[{"role":"assistant","content":"a"}],"continue_final_message":true,"add_generation_prompt":true})"),
      "excludes");
}

TEST(CliRows, DecimalLogProbsAreTheSameBits) {
  const std::string rows = "{\"tokens\":[0,70,71]}\n{\"tokens\":[0,72]}\n";
  const auto hex = generate(rows, {"--logprob-format", "hex"}),
             decimal = generate(rows, {"--logprob-format", "decimal"});
  EXPECT_EQ(generate(rows).at(0).dump(), hex.at(0).dump()) << "hex is the default";
  for (const size_t row : {0, 1}) {
    const auto& want = hex.at(row).at("logprobs").items();
    ASSERT_EQ(decimal.at(row).at("logprobs").size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      const Json& got = decimal[row].at("logprobs").at(i);
      ASSERT_TRUE(got.is_number()) << got.dump();
      EXPECT_EQ(std::strtof(got.dump().c_str(), nullptr), std::strtof(want[i].string().c_str(), nullptr));
      EXPECT_LE(got.dump().size(), 16u) << "not the shortest: " << got.dump();
    }
  }
  const auto score = [&](const char* format) {
    return rows_of(
        r1_run({"score", test::tiny_llama(), "--input", "-", "--logprob-format", format}, rows).out);
  };
  const auto a = score("hex"), b = score("decimal");
  EXPECT_EQ(std::strtof(b.at(0).at("logprobs").at(1).dump().c_str(), nullptr),
            std::strtof(a.at(0).at("logprobs").at(1).string().c_str(), nullptr));
  EXPECT_ONE_LINE_ERROR(r1_run({"score", test::tiny_llama(), "--input", "-", "--logprob-format", "dec"}),
                        "must be hex or decimal");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"generate", test::tiny_llama(), "--input", "-", "--output", "-", "--logprob-format", "hex"}),
      "add --logprobs");
}

TEST(CliRows, AbsurdSizesAreRefusedBeforeMemoryIsTaken) {
  const std::string model = test::tiny_llama();
  const auto generate_with = [&](const char* flag, const char* value) {
    return r1_run({"generate", model, "--input", write("one.jsonl", "{\"tokens\":[0,70]}\n"), "--output", "-",
                   flag, value});
  };
  EXPECT_ONE_LINE_ERROR(generate_with("--samples", "999999999999"), "--samples is 999999999999");
  EXPECT_ONE_LINE_ERROR(generate_with("--samples", "0"), "--samples is 0; it must be between 1 and");
  EXPECT_ONE_LINE_ERROR(generate_with("--batch", "999999999999"), "--batch is 999999999999");
  EXPECT_ONE_LINE_ERROR(generate_with("--prefill-chunk", "-5"), "--prefill-chunk is -5");
  EXPECT_ONE_LINE_ERROR(generate_with("--max-tokens", "257"),
                        "--max-tokens is 257; it must be between 1 and 256");
  std::string many;
  for (int i = 0; i < 300; ++i) many += "{\"tokens\":[0,70]}\n";
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", model, "--input", write("many.jsonl", many), "--output", "-",
                                "--samples", "65536"}),
                        "split the job");
  const auto eval_with = [&](const char* flag, const char* value) {
    return r1_run({"eval", model, "--task", "countdown3", flag, value});
  };
  EXPECT_ONE_LINE_ERROR(eval_with("--problems", "999999999999"), "--problems is 999999999999");
  EXPECT_ONE_LINE_ERROR(eval_with("--samples", "999999999999"), "--samples is 999999999999");
  EXPECT_ONE_LINE_ERROR(eval_with("--batch", "999999999999"), "--batch is 999999999999");
  EXPECT_ONE_LINE_ERROR(eval_with("--max-tokens", "100000"), "--max-tokens is 100000");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"eval", model, "--task", "countdown3", "--problems", "100000", "--samples", "60000"}),
      "split the job");
}

}  // namespace
}  // namespace r1::rows_test
