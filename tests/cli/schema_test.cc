// `r1 schema`, and the rows that the commands read and print against it.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"

namespace r1::test::schema_test {
namespace {

Json schema(const std::string& name) {
  const Result result = r1_run({"schema", name});
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "schema " + name);
}

void expect_fits(const std::string& name, const std::string& jsonl) {
  const Json root = schema(name);
  const std::vector<Json> rows = rows_of(jsonl);
  EXPECT_FALSE(rows.empty()) << name;
  for (const Json& row : rows) EXPECT_EQ(SchemaValidator(root).check(row), "") << name << ": " << row.dump();
}

TEST(CliSchema, ListsNamesAndNamesTheNearest) {
  const Result list = r1_run({"schema"});
  EXPECT_EQ(list.status, 0);
  EXPECT_NE(list.out.find("metrics.jsonl "), std::string::npos);
  const Result json = r1_run({"schema", "--json"});
  EXPECT_TRUE(parse_json(json.out, "list").contains("grpo"));
  EXPECT_ONE_LINE_ERROR(r1_run({"schema", "metrix"}), "(did you mean metrics?)");
}

// Runs the command on good and bad rows. The good rows must fit the input schema, and all results the output
// schema.
void expect_rows(const std::vector<std::string>& arguments, const std::string& command,
                 const std::string& good, const std::string& bad, int status) {
  std::vector<std::string> words = arguments;
  words.insert(words.end(), {"--input", "-"});
  const Result result = r1_run(words, good + bad);
  EXPECT_EQ(result.status, status) << command << ": " << result.err;
  expect_fits(command + "-input", good);
  expect_fits(command + "-output", result.out);
}

TEST(CliSchema, RowsOfEveryCommandFit) {
  const std::string model = tiny_llama();
  expect_rows(
      {"generate", model, "--output", "-", "--max-tokens", "3", "--logprobs"}, "generate",
      "{\"prompt\":\"Use 3\"}\n{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n{\"tokens\":[3,4],"
      "\"key\":[1,2,3]}\n"
      "{\"prompt\":null,\"tokens\":[3],\"id\":\"007\",\"seed\":3,\"n\":2,\"max_tokens\":2,\"temperature\":0."
      "5,\"top_k\":5,"
      "\"repetition_penalty\":1.1,\"stop_token_ids\":[4],\"ignore_eos\":true,\"bad_words_ids\":[[5,6]]}\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"y\"}],"
      "\"tools\":[],"
      "\"chat_template_kwargs\":{},\"continue_final_message\":true,\"id\":1.5}\n",
      "{\"tokens\":[-1],\"id\":null}\n", 2);
  expect_rows({"score", model, "--logprobs", "-", "--logprob-format", "decimal"}, "score",
              "{\"tokens\":[3,4,5]}\n{\"tokens\":[3,4],\"from\":1,\"id\":4}\n",
              "{\"tokens\":[3],\"from\":9}\n", 2);
  expect_rows({"verify"}, "verify",
              "{\"gold\":24,\"pred\":\"4*6\"}\n{\"gold\":{\"numbers\":[1,2,3],\"target\":6},\"pred\":\"x\"}\n"
              "{\"reward\":\"format\",\"text\":\"x\"}\n{\"task\":\"calendar\",\"gold\":{\"days\":3},\"pred\":"
              "\"x\"}\n",
              "{\"gold\":true,\"pred\":\"x\"}\n", 2);
  expect_rows({"tokenize", model}, "tokenize", "{\"text\":\"Use 3\"}\n", "{\"text\":3}\n", 2);
  expect_rows({"tokenize", model, "--decode"}, "tokenize", "{\"tokens\":[3,4]}\n", "{}\n", 2);
  expect_rows({"template", model}, "template",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"bos_token\":\"<s>\"}\n",
              "{\"messages\":3}\n", 2);
  const std::string tokens = write("ids.json", "[3, 4]");
  expect_fits("prompt-tokens", "[3, 4]");
  expect_fits("run-output",
              r1_run({"run", model, "--prompt-tokens", tokens, "--json", "--max-tokens", "3"}).out);
}

TEST(CliSchema, EvaluationsFit) {
  const std::string problems =
      "{\"numbers\":[1,2,3],\"target\":6}\n{\"question\":\"1+1?\",\"answer\":\"2\"}\n";
  const std::string file = write("problems.jsonl", problems), rows = (scratch() / "eval-rows.jsonl").string();
  expect_fits("problems.jsonl", problems);
  const Result result = r1_run({"eval", tiny_llama(), "--task", file, "--samples", "2", "--max-tokens", "4",
                                "--top-k", "5", "--output", rows, "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  expect_fits("eval.json", result.out);
  expect_fits("eval-samples.jsonl", read_file(rows));
}

TEST(CliSchema, WhatADataCheckPrintsFits) {
  const std::string file =
      write("checked.jsonl",
            "{\"question\": \"1+1?\", \"answer\": \"2\"}\n{\"question\": \"1+1?\", \"answer\": \"3\"}\n"
            "{\"text\": \"a document\"}\n{\n");
  const Result result =
      r1_run({"data", "check", file, "/nonexistent.jsonl", "--against",
              write("clean.jsonl", "{\"text\": \"one two three\"}\n"), "--model", tiny_llama(), "--json"});
  EXPECT_EQ(result.status, 2);
  expect_fits("data-check.json", result.out);
}

TEST(CliSchema, WhatIsMissingOrUnknownIsRefused) {
  const Json root = schema("generate-output");
  const SchemaValidator validator(root);
  EXPECT_NE(validator.check(parse_json(R"({"row": 0, "sample": 0})", "row")), "");
  EXPECT_NE(validator.check(parse_json(R"({"row": 0, "error": "x", "more": 1})", "row")), "");
  EXPECT_EQ(validator.check(parse_json(R"({"row": 0, "error": "x"})", "row")), "");
}

}  // namespace
}  // namespace r1::test::schema_test
