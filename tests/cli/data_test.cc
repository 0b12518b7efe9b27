// `r1 data check`, and evaluations on files of data as they are found.
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::test::data_test {
namespace {

std::string packed(const std::string& name, const std::string& text) {
  const std::string path = (scratch() / name).string();
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return path;
}

Json checked(const std::vector<std::string>& words) {
  std::vector<std::string> all{"data", "check"};
  all.insert(all.end(), words.begin(), words.end());
  all.push_back("--json");
  const Result result = r1_run(all);
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "data check").at("files");
}

TEST(CliDataCheck, ADroppedRowIsCountedAndNamedAndTheExitCodeStays0) {
  const std::string file = write("mixed.jsonl",
                                 "{\"question\": \"Q1\", \"answer\": \"#### 1\"}\n"
                                 "{\"question\": \"Q2\", \"answer\": null}\n"
                                 "nonsense\n"
                                 "{\"question\": \"Q1\", \"answer\": \"#### 1\"}\n"
                                 "{\"question\": \"Q1\", \"answer\": \"#### 2\"}\n"
                                 "{\"question\": \"Q3\", \"answer\": null}\n"
                                 "{\"prompt\": \"P\", \"completion\": \"two\\nlines\"}\n");
  const Json check = checked({file}).at(size_t{0});
  EXPECT_EQ(check.get_int("rows"), 7);
  EXPECT_EQ(check.get_int("read"), 4);
  EXPECT_EQ(check.at("formats").get_int("GSM8K"), 3);
  ASSERT_EQ(check.at("dropped").size(), 2u);
  EXPECT_EQ(check.at("dropped").at(size_t{0}).get_string("reason"),
            "answer is empty or null: the row has no answer");
  EXPECT_EQ(check.at("dropped").at(size_t{0}).at("first_lines").dump(), "[2,6]");
  EXPECT_EQ(check.at("dropped").at(1).at("first_lines").dump(), "[3]");
  EXPECT_EQ(check.get_int("problems"), 3);
  EXPECT_EQ(check.at("not_judged").at(size_t{0}).at("first_lines").dump(), "[7]");
  EXPECT_EQ(check.at("duplicates").at("first_lines").dump(), "[4]");
  EXPECT_EQ(check.at("conflicts").at("first_lines").dump(), "[5]");
  const Result table = r1_run({"data", "check", file});
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.out.find("7, of which 4 are read"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("answer is empty or null: the row has no answer (lines 2, 6)"), std::string::npos)
      << table.out;
}

TEST(CliDataCheck, AFileThatCannotBeReadIsStatus2AndTheOthersAreChecked) {
  const std::string good = write("good.jsonl", "{\"text\": \"abc\"}\n");
  const std::string whole = packed("whole.jsonl.gz", std::string(3000, ' ') + "{\"text\": \"abc\"}\n");
  const std::string bytes = read_file(whole);
  const std::string cut = write("cut.jsonl.gz", bytes.substr(0, bytes.size() - 12));
  const Result result = r1_run({"data", "check", "/nonexistent.jsonl", cut, good});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("/nonexistent.jsonl"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("cut.jsonl.gz: the gzip data is cut short"), std::string::npos) << result.err;
  EXPECT_NE(result.out.find("good.jsonl\n  rows        1, of which 1 are read"), std::string::npos)
      << result.out;
}

TEST(CliDataCheck, RowsThatShareTenWordsWithAnEvaluationAreNamed) {
  const std::string words = "one two three four five six seven eight nine ten";
  const std::string evaluation =
      write("eval.jsonl", "{\"question\": \"" + words + " eleven?\", \"answer\": \"1\"}\n");
  const std::string data =
      packed("data.jsonl.gz", "{\"text\": \"zero " + words + "\"}\n{\"text\": \"one two three\"}\n");
  const Json overlap = checked({data, "--against", evaluation}).at(size_t{0}).at("overlap").at(size_t{0});
  EXPECT_EQ(overlap.get_int("rows"), 1);
  EXPECT_EQ(overlap.at("first_lines").dump(), "[1]");
  EXPECT_EQ(overlap.get_string("first_words"), words);
  EXPECT_EQ(r1_run({"data", "check", data, "--against", "/nonexistent"}).status, 2);
}

TEST(CliDataCheck, AMappingAndAModelsTokens) {
  const std::string file = write("odd.jsonl", "{\"q\": {\"text\": \"1+1?\"}, \"a\": [2]}\n");
  EXPECT_EQ(checked({file}).at(size_t{0}).get_int("read"), 0);
  const Json check =
      checked({file, "--question", "q.text", "--answer", "a[0]", "--model", tiny_llama()}).at(size_t{0});
  EXPECT_EQ(check.get_int("problems"), 1);
  EXPECT_EQ(check.at("characters").at("question").get_int("longest"), 4);
  EXPECT_GE(check.at("tokens").at("question").get_int("longest"), 1);
}

TEST(CliEval, AGzipFileOfProblemsIsReadAsItIs) {
  const std::string file = packed(
      "gsm.jsonl.gz",
      "{\"question\": \"1+1?\", \"answer\": \"#### 2\"}\n{\"question\": \"2+2?\", \"answer\": \"#### 4\"}\n");
  const Result result = r1_run({"eval", tiny_llama(), "--task", file, "--samples", "1", "--max-tokens", "2",
                                "--problems", "1", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(parse_json(result.out, "eval").get_int("problems"), 1);
}

TEST(CliEval, AQuestionThatLeavesNoRoomIsLeftOutAndNamed) {
  const std::string file = write("long.jsonl", "{\"question\": \"" + std::string(40000, '7') +
                                                   "\", \"answer\": \"1\"}\n"
                                                   "{\"question\": \"1+1?\", \"answer\": \"2\"}\n");
  const Result result =
      r1_run({"eval", tiny_llama(), "--task", file, "--samples", "1", "--max-tokens", "2", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(parse_json(result.out, "eval").get_int("problems"), 1);
  EXPECT_EQ(parse_json(result.out, "eval").get_int("rows_refused"), 1);
  EXPECT_NE(result.err.find("1 of 2 rows cannot be used and are left out; the first: " + file +
                            ":1: the prompt has "),
            std::string::npos)
      << result.err;
}

TEST(CliEval, TheTwoSidesOfAFileAddUp) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += Json::object().set("q", "q" + std::to_string(i)).set("a", i).dump() + "\n";
  const std::string file = write("sides.jsonl", text);
  const auto problems = [&](const std::string& side) {
    const Result result =
        r1_run({"eval", tiny_llama(), "--task", file, "--samples", "1", "--max-tokens", "1", "--json",
                "--question", "q", "--answer", "a", "--held-out", "0.3", "--split", side});
    EXPECT_EQ(result.status, 0) << result.err;
    return parse_json(result.out, "eval").get_int("problems");
  };
  const int64_t train = problems("train"), held_out = problems("held_out");
  EXPECT_GT(train, held_out);
  EXPECT_GT(held_out, 0);
  EXPECT_EQ(train + held_out, problems("all"));
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", tiny_llama(), "--task", file, "--split", "test"}),
                        "--split is test; it must be all, train or held_out");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", tiny_llama(), "--task", "countdown3", "--split", "train"}),
                        "--split, --question and --answer are for files; countdown3 is a task");
}

TEST(CliEval, PublishedEvaluationsAreReadAsTheyAre) {
  const char* given = std::getenv("R1_TEST_DATA");
  const fs::path folder = fs::path(given != nullptr ? given : R1_SOURCE_DIR "/../shared/data") / "evals";
  if (!fs::exists(folder)) GTEST_SKIP() << "NOT TESTED: no " << folder << " (set R1_TEST_DATA)";
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) all.push_back(entry.path().string());
  EXPECT_GE(checked(all).size(), 9u);
  for (const std::string& file : all) {
    const Result result = r1_run({"eval", "r1-nano", "--task", file, "--problems", "2", "--samples", "1",
                                  "--max-tokens", "2", "--json"});
    if (file.find("HumanEval") != std::string::npos || file.find("mbpp") != std::string::npos) {
      EXPECT_ONE_LINE_ERROR(result, "whose answers are programs: this build runs no programs");
      continue;
    }
    ASSERT_EQ(result.status, 0) << file << ": " << result.err;
    EXPECT_EQ(parse_json(result.out, "eval").get_int("problems"), 2) << file;
  }
}

}  // namespace
}  // namespace r1::test::data_test
