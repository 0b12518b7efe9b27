// Problems from files: rows of every task are checked by the verifier that will judge the answers. A bad row
// affects only itself and gives one line.
#include "reward/problem_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "data/countdown_question.h"
#include "formats/json.h"
#include "reward/verifier.h"

namespace r1::problem_file_test {
namespace {

std::filesystem::path test_data() {
  const char* given = std::getenv("R1_TEST_DATA");
  return given != nullptr ? given : R1_SOURCE_DIR "/../shared/data";
}

class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text)
      : path_(std::filesystem::temp_directory_path() / ("r1_task_test_" + std::to_string(getpid()) + name)) {
    write_file_atomically(path_, text);
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string without_path(const std::string& what, const std::filesystem::path& path) {
  const std::string prefix = path.string();
  return what.starts_with(prefix) ? what.substr(prefix.size()) : "does not name the file: " + what;
}

// Returns the error of the one refused row, or of the file.
std::string error_of(const std::string& name, const std::string& text) {
  const TemporaryFile file(name, text);
  try {
    const ProblemFile read = read_problems(file.path());
    if (read.refused.size() != 1) return std::to_string(read.refused.size()) + " rows refused";
    EXPECT_EQ(read.problems.size(), 1u) << "the good row is read";
    EXPECT_EQ(without_path(read.refused[0].error, file.path())
                  .find(":" + std::to_string(read.refused[0].line) + ": "),
              0u);
    return without_path(read.refused[0].error, file.path());
  } catch (const Error& e) {
    return without_path(e.what(), file.path());
  }
}

TEST(ProblemFile, ReadsJsonl) {
  const TemporaryFile file("rows.jsonl",
                           "{\"numbers\": [3, 5, 7], \"target\": 24}\n"
                           "{\"nums\": [9, 5, 7, 1], \"target\": 30, \"question\": \"9 5 7 1 to 30!\"}\n"
                           "\n"
                           "{\"question\": \"Q\", \"gold\": {\"numbers\": [1, 2], \"target\": 3}}\n"
                           "{\"question\": \"What is 7/2?\", \"answer\": \"7/2\"}\n"
                           "{\"question\": \"What is 4*6?\", \"answer\": 24, \"extra\": true}\n");
  const std::vector<Problem> problems = read_problems(file.path()).problems;
  ASSERT_EQ(problems.size(), 5u);
  EXPECT_EQ(problems[0].task, "countdown");
  EXPECT_EQ(problems[0].question, "Make 24 from 3, 5 and 7.");
  EXPECT_EQ(problems[0].gold, "{\"numbers\":[3,5,7],\"target\":24}");
  EXPECT_EQ(problems[1].question, "9 5 7 1 to 30!");
  EXPECT_EQ(problems[1].key, "countdown 1 5 7 9");
  EXPECT_EQ(countdown_of(problems[1]).numbers, (std::vector<int>{9, 5, 7, 1}));
  EXPECT_EQ(problems[2].question, "Q");
  EXPECT_EQ(countdown_of(problems[2]).target, 3);
  EXPECT_EQ(problems[3].task, "math");
  EXPECT_EQ(problems[3].gold, "\"7/2\"");
  EXPECT_EQ(problems[4].gold, "\"24\"");
}

TEST(ProblemFile, BadRowsNameFileAndLine) {
  const std::string good = "{\"numbers\": [3, 5], \"target\": 8}\n";
  for (const char* row :
       {"{", "[1]", "7", "{\"question\": \"Q\"}", "{\"answer\": \"3\"}", "{\"numbers\": [3, 5]}",
        "{\"numbers\": [3], \"target\": 3}", "{\"numbers\": [3, \"5\"], \"target\": 8}",
        "{\"numbers\": [3, -5], \"target\": 8}", "{\"numbers\": [3, 5], \"target\": 8.5}",
        "{\"numbers\": [1,2,3,4,5,6,7,8,9], \"target\": 8}", "{\"numbers\": 3, \"target\": 8}",
        "{\"question\": \"Q\", \"gold\": true}", "{\"question\": 3, \"gold\": \"2\"}"}) {
    const std::string what = error_of("bad.jsonl", good + row + "\n");
    EXPECT_TRUE(what.starts_with(":2: ")) << row << " gave: " << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
  }
  const std::string header = "Rank,Puzzles,x\n";
  EXPECT_TRUE(error_of("a.csv", "Rank,Hands\n1,1 2 3 4\n").starts_with(":1: no column Puzzles"));
  for (const char* row :
       {"1,1 2 3 4", "1,1 2 x 4,1", "1,,1", "1,1  2,1", "1,7,1", "1,1 2 99999,1", "1,-1 2,1"}) {
    EXPECT_TRUE(error_of("b.csv", header + "1,1 1 4 6,\n" + row + "\n").starts_with(":3: ")) << row;
  }
  EXPECT_TRUE(error_of("c.txt", "hm").starts_with(":1: offset 0: "));
  EXPECT_THROW(read_problems("/nonexistent/file.jsonl"), Error);
}

TEST(ProblemFile, RowsOfEveryTaskAreWhatTheGeneratorsMake) {
  std::string text;
  std::vector<Problem> made;
  for (const std::string& task : task_names()) {
    for (const std::string& name : has_levels(task) ? std::vector{task, task + ":2"} : std::vector{task}) {
      const Problem problem = make_problem(name, 3, made.size(), Split::held_out);
      const char* field = made.size() % 2 == 0 ? "question" : "prompt";
      Json row = Json::object().set("task", name).set(field, problem.question);
      row.set(made.size() % 3 == 0 ? "gold" : "answer", parse_json(problem.gold, "gold"));
      text += row.dump() + "\n";
      made.push_back(problem);
    }
  }
  const TemporaryFile file("all.jsonl", text);
  const std::vector<Problem> read = read_problems(file.path()).problems;
  ASSERT_EQ(read.size(), made.size());
  ASSERT_GT(read.size(), 15u);
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].task, made[i].task);
    EXPECT_EQ(read[i].question, made[i].question);
    EXPECT_EQ(parse_json(read[i].gold, "read"), parse_json(made[i].gold, "made"));
  }
}

TEST(ProblemFile, ATasksOwnVerifierJudges) {
  const TemporaryFile file("own.jsonl",
                           R"({"task": "calendar:3", "prompt": "When?", "answer": {"date": "1985-07-08"}})"
                           "\n"
                           R"({"task": "arithmetic", "question": "1/2 + 3?", "gold": "7/2"})"
                           "\n"
                           R"({"task": "word_problems", "prompt": "How many?", "gold": 17})"
                           "\n"
                           R"({"task": "game24:1", "numbers": [4, 6, 1, 1], "target": 24})"
                           "\n"
                           R"({"task": "expression", "prompt": "24, please", "answer": 24})"
                           "\n");
  const std::vector<Problem> problems = read_problems(file.path()).problems;
  ASSERT_EQ(problems.size(), 5u);
  const char* right[] = {"8 July 1985", "3.5", "17", "4*6*1*1", "3*8"};
  const char* wrong[] = {"7 August 1985", "5/2", "17 minutes", "4*6", "3*7"};
  for (size_t i = 0; i < 5; ++i) {
    const auto says = [&](const std::string& answer) {
      return verify(problems[i], "<think></think><answer>" + answer + "</answer>").correct;
    };
    EXPECT_TRUE(says(right[i])) << right[i];
    EXPECT_FALSE(says(wrong[i])) << wrong[i];
  }
  EXPECT_EQ(problems[3].task, "game24:1");
  EXPECT_EQ(problems[3].key, countdown_content(countdown_of(problems[3]).numbers));
  EXPECT_TRUE(parse_question(problems[3].question) == countdown_of(problems[3])) << problems[3].question;
}

TEST(ProblemFile, AGoldThatItsVerifierCannotReadIsRefusedWithTheLine) {
  const std::string good = "{\"numbers\": [3, 5], \"target\": 8}\n\n";
  const struct {
    const char* row;
    const char* says;
  } cases[] = {
      {R"({"task": "calender", "prompt": "Q", "gold": {"days": 5}})",
       "unknown task calender (did you mean calendar?)"},
      {R"({"task": "calendar:7", "prompt": "Q", "gold": {"days": 5}})", "levels are 1 to 3"},
      {R"({"task": 5, "prompt": "Q", "gold": {"days": 5}})", "task is"},
      {R"({"task": "calendar", "prompt": "Q", "gold": {"date": "1985-02-30"}})", "is no date"},
      {R"({"task": "calendar", "prompt": "Q", "gold": {"hour": 5}})", "needs weekday, days or date"},
      {R"({"task": "arithmetic", "prompt": "Q", "gold": "seven"})", "is no number"},
      {R"({"task": "equations", "prompt": "Q", "gold": {"value": "7/2"}})", "unknown"},
      {R"({"task": "base_conversion", "prompt": "Q", "gold": {"base": 2, "digits": "12"}})",
       "is no number in base 2"},
      {R"({"task": "knights_knaves", "prompt": "Q", "gold": {"Ann": "spy"}})", "is neither knight nor knave"},
      {R"({"task": "expression", "prompt": "Q", "gold": "2+"})", "is neither a number nor an expression"},
      {R"({"task": "countdown3", "prompt": "Q"})", "needs numbers and target"},
      {R"({"task": "arithmetic", "prompt": "Q"})", "needs gold or answer"},
      {R"({"task": "arithmetic", "gold": "7"})", "needs question, prompt or problem"},
      {R"({"prompt": "Q", "gold": {"days": 5}})", "the row names no task"},
  };
  for (const auto& [row, says] : cases) {
    const std::string what = error_of("gold.jsonl", good + row + "\n");
    EXPECT_TRUE(what.starts_with(":3: ")) << row << " gave: " << what;
    EXPECT_NE(what.find(says), std::string::npos) << row << " gave: " << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
  }
  EXPECT_EQ(error_of("none.jsonl", "\n"), ": has no problems");
  EXPECT_EQ(error_of("none.csv", "Rank,Puzzles\n"), ": has no problems");
}

TEST(ProblemFile, ARowThatCannotBeReadSpoilsOnlyItself) {
  const std::string good = R"({"task": "arithmetic", "prompt": "Q", "gold": "7"})";
  const std::string bad = R"({"task": "arithmetic", "prompt": "Q", "gold": "seven"})";
  const TemporaryFile file("some.jsonl", bad + "\n" + good + "\n\n{\n" + good + "\n");
  const ProblemFile read = read_problems(file.path());
  EXPECT_EQ(read.problems.size(), 2u);
  ASSERT_EQ(read.refused.size(), 2u);
  EXPECT_EQ(read.refused[0].line, 1);
  EXPECT_EQ(read.refused[1].line, 4);
  const std::string notice = refusal_notice(read);
  EXPECT_TRUE(notice.starts_with(
      "2 of 4 rows cannot be used and are left out; the first: " + file.path().string() + ":1: "))
      << notice;
  EXPECT_EQ(notice.find('\n'), std::string::npos);
  EXPECT_EQ(refusal_notice({}), "");
  const TemporaryFile none("none.jsonl", bad + "\n" + bad + "\n");
  try {
    read_problems(none.path());
    FAIL() << "no row can be read";
  } catch (const Error& e) {
    const std::string what = without_path(e.what(), none.path());
    EXPECT_TRUE(what.starts_with(":1: ") && what.ends_with("(and none of the other 1 rows can be read)"))
        << what;
  }
}

TEST(ProblemFile, GoldsAreReadAsTheyAreWritten) {
  const TemporaryFile file("exact.jsonl",
                           R"({"task": "arithmetic", "prompt": "Q", "gold": 123456789012345678901234567890})"
                           "\n"
                           R"({"task": "arithmetic", "prompt": "Q", "gold": 0.1000})"
                           "\n"
                           R"({"prompt": "Q", "answer": 1e400})"
                           "\n"
                           R"({"task": "arithmetic", "prompt": "Q", "gold": "073"})"
                           "\n");
  const std::vector<Problem> problems = read_problems(file.path()).problems;
  ASSERT_EQ(problems.size(), 4u);
  EXPECT_EQ(problems[0].gold, "\"123456789012345678901234567890\"");
  EXPECT_EQ(problems[1].gold, "\"0.1000\"");
  EXPECT_EQ(problems[2].gold, "\"1e400\"");
  const auto correct = [&](size_t i, const std::string& answer) {
    return verify(problems[i], "<think></think><answer>" + answer + "</answer>").correct;
  };
  EXPECT_TRUE(correct(0, "123456789012345678901234567890"));
  EXPECT_FALSE(correct(0, "123456789012345678901234567891"));
  EXPECT_TRUE(correct(1, ".1"));
  EXPECT_TRUE(correct(2, "1" + std::string(400, '0')));
  EXPECT_TRUE(correct(3, "73"));
}

TEST(ProblemFile, ReadsTheGameOf24AndHoldsAllOfItOut) {
  const std::filesystem::path path = test_data() / "tasks" / "game24.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NOT TESTED: no " << path << " (set R1_TEST_DATA)";
  const std::vector<Problem> problems = read_problems(path).problems;
  ASSERT_EQ(problems.size(), 1362u);
  for (const Problem& problem : problems) {
    const CountdownProblem puzzle = countdown_of(problem);
    ASSERT_EQ(puzzle.target, 24);
    ASSERT_EQ(puzzle.numbers.size(), 4u);
    ASSERT_TRUE(is_game24_hand(puzzle.numbers)) << problem.question;
    ASSERT_TRUE(is_held_out(puzzle.numbers)) << problem.question;
    ASSERT_FALSE(in_split(puzzle.numbers, Split::train)) << problem.question;
    ASSERT_TRUE(parse_question(problem.question) == puzzle) << problem.question;
    ASSERT_TRUE(solve(puzzle.numbers, puzzle.target).has_value()) << problem.question;
  }
}

}  // namespace
}  // namespace r1::problem_file_test
