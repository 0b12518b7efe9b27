// Commands that read or show answers whose thought was opened by the prompt.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"
#include "tests/engine/opened_model.h"
#include "tests/formats/json_schema.h"

namespace r1::thought_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

std::string opened_nano() {
  static const std::string path = test::opened_model("r1-nano", scratch() / "opened-nano").string();
  return path;
}

void expect_fits(const std::string& name, const std::vector<Json>& rows) {
  const Json schema = parse_json(r1_run({"schema", name}).out, name);
  ASSERT_FALSE(rows.empty());
  for (const Json& row : rows) EXPECT_EQ(test::SchemaValidator(schema).check(row), "") << row.dump();
}

TEST(CliThought, VerifyReadsAResponseThatBeginsInsideTheThought) {
  const std::string input =
      R"J({"task":"arithmetic","gold":"16","pred":"x</think><answer>16</answer>","prompt_opened":true}
{"task":"arithmetic","gold":"16","pred":"<think>x</think><answer>16</answer>","prompt_opened":true}
{"task":"arithmetic","gold":"16","pred":"x</think><answer>16</answer>","prompt_opened":false}
{"task":"arithmetic","gold":"16","pred":"x</think><answer>16</answer>"}
{"gold":{"numbers":[3,5,9],"target":24},"pred":"x</think><answer>5*3+9</answer>","prompt_opened":true}
{"reward":"format","text":"\n</think><answer>b</answer>","prompt_opened":true}
)J";
  const std::string bad = R"J({"task":"arithmetic","gold":"16","pred":"x","prompt_opened":"yes"}
{"gold":"16","pred":"16","prompt_opened":true}
{"gold":"16","pred":"8+8","options":{"numbers":[8,8]},"prompt_opened":true}
)J";
  const auto result = r1_run({"verify", "--input", "-"}, input + bad);
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 9u) << result.out;
  EXPECT_TRUE(rows[0].get_bool("correct"));
  EXPECT_TRUE(rows[1].get_bool("correct")) << "the tag counts once";
  EXPECT_EQ(rows[2].get_string("why"), "no_think");
  EXPECT_EQ(rows[3].get_string("why"), "no_think");
  EXPECT_TRUE(rows[4].get_bool("correct"));
  EXPECT_EQ(rows[5].get_number("score"), 1.0);
  EXPECT_NE(rows[6].get_string("error").find("prompt_opened"), std::string::npos) << result.out;
  EXPECT_EQ(rows[7].get_string("why"), "no_answer") << "the thought does not end";
  EXPECT_NE(rows[8].get_string("error").find("prompt_opened is true, but pred is not a whole response"),
            std::string::npos)
      << result.out;
  expect_fits("verify-input", test::rows_of(input));
}

TEST(CliThought, EvalAgreesWithVerifyOnItsOwnRows) {
  const std::string output = (scratch() / "opened-rows.jsonl").string();
  const auto result = r1_run({"eval", opened_nano(), "--task", "countdown3", "--problems", "12", "--samples",
                              "2", "--json", "--output", output});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<Json> rows = test::rows_of(read_file(output));
  expect_fits("eval-samples.jsonl", rows);
  std::string input;
  for (const Json& row : rows) {
    Json one = Json::object();
    one.set("task", row.get_string("task")).set("gold", parse_json(row.get_string("gold"), "gold"));
    one.set("pred", row.get_string("text")).set("prompt_opened", row.get_bool("prompt_opened"));
    input += one.dump() + "\n";
  }
  double right = 0;
  for (const Json& row : test::rows_of(r1_run({"verify", "--input", "-"}, input).out))
    right += row.get_bool("correct") ? 1 : 0;
  EXPECT_GT(right, 8);
  EXPECT_DOUBLE_EQ(parse_json(result.out, "eval").get_number("pass_at_1"), right / 24);
}

TEST(CliThought, RunHidesAThoughtThatTheTemplateOpened) {
  const std::vector<std::string> ask{
      "run", opened_nano(), "-p", "Use 2, 3 and 4 to make 24.", "--temperature", "0"};
  std::vector<std::string> hide = ask;
  hide.push_back("--hide-thinking");
  const auto whole = r1_run(ask), hidden = r1_run(hide);
  ASSERT_EQ(hidden.status, 0) << hidden.err;
  EXPECT_FALSE(whole.out.starts_with("<think>")) << "a pipe gets what the model wrote";
  const size_t close = whole.out.find("</think>");
  ASSERT_NE(close, std::string::npos) << whole.out;
  EXPECT_EQ(hidden.out, whole.out.substr(close + 8));
}

}  // namespace
}  // namespace r1::thought_test
