#include "data/task.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "data/countdown_question.h"

namespace r1 {
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

std::string error_of(const std::string& name, const std::string& text) {
  const TemporaryFile file(name, text);
  try {
    read_problems(file.path());
    return "no error";
  } catch (const Error& e) {
    const std::string what = e.what(), prefix = file.path().string();
    return what.starts_with(prefix) ? what.substr(prefix.size()) : "does not name the file: " + what;
  }
}

TEST(Task, CountdownIsAPureFunctionOfItsArguments) {
  std::set<std::string> questions;
  for (const std::string name : {"countdown", "countdown3", "countdown4"}) {
    for (const Split split : {Split::train, Split::held_out}) {
      for (uint64_t i = 0; i < 200; ++i) {
        const Problem problem = make_problem(name, 41, i, split);
        ASSERT_EQ(problem, make_problem(name, 41, i, split));
        ASSERT_EQ(problem.task, name);
        const CountdownProblem countdown = countdown_of(problem);
        ASSERT_EQ(is_held_out(countdown.numbers), split == Split::held_out) << problem.question;
        ASSERT_TRUE(parse_question(problem.question) == countdown) << problem.question;
        ASSERT_EQ(problem.key, countdown_content(countdown.numbers));
        if (name != "countdown") {
          ASSERT_EQ(countdown.numbers.size(), name == "countdown3" ? 3u : 4u);
        }
        questions.insert(problem.question);
      }
    }
  }
  EXPECT_GT(questions.size(), 1180u);  // of 1,200; lists do not repeat each other
}

TEST(Task, ReadsJsonl) {
  const TemporaryFile file("rows.jsonl",
                           "{\"numbers\": [3, 5, 7], \"target\": 24}\n"
                           "{\"nums\": [9, 5, 7, 1], \"target\": 30, \"question\": \"9 5 7 1 to 30!\"}\n"
                           "\n"
                           "{\"question\": \"Q\", \"gold\": {\"numbers\": [1, 2], \"target\": 3}}\n"
                           "{\"question\": \"What is 7/2?\", \"answer\": \"7/2\"}\n"
                           "{\"question\": \"What is 4*6?\", \"answer\": 24, \"extra\": true}\n");
  const std::vector<Problem> problems = read_problems(file.path());
  ASSERT_EQ(problems.size(), 5u);
  EXPECT_EQ(problems[0].task, "countdown");
  EXPECT_EQ(problems[0].question, "Make 24 from 3, 5 and 7.");
  EXPECT_EQ(problems[0].gold, "{\"numbers\":[3,5,7],\"target\":24}");
  EXPECT_EQ(problems[1].question, "9 5 7 1 to 30!");
  EXPECT_EQ(problems[1].key, "countdown 1 5 7 9");
  EXPECT_EQ(countdown_of(problems[1]).numbers, (std::vector<int>{9, 5, 7, 1}));
  EXPECT_EQ(problems[2].question, "Q");
  EXPECT_EQ(countdown_of(problems[2]).target, 3);
  EXPECT_EQ(problems[3].task, "expression");
  EXPECT_EQ(problems[3].gold, "\"7/2\"");
  EXPECT_EQ(problems[4].gold, "\"24\"");
}

TEST(Task, BadRowsNameFileAndLine) {
  const std::string good = "{\"numbers\": [3, 5], \"target\": 8}\n";
  for (const char* row :
       {"{", "[1]", "7", "{\"question\": \"Q\"}", "{\"answer\": \"3\"}", "{\"numbers\": [3, 5]}",
        "{\"numbers\": [3], \"target\": 3}", "{\"numbers\": [3, \"5\"], \"target\": 8}",
        "{\"numbers\": [3, -5], \"target\": 8}", "{\"numbers\": [3, 5], \"target\": 8.5}",
        "{\"numbers\": [1,2,3,4,5,6,7,8,9], \"target\": 8}", "{\"numbers\": 3, \"target\": 8}",
        "{\"question\": \"Q\", \"gold\": 2.5}", "{\"question\": 3, \"gold\": \"2\"}"}) {
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
  EXPECT_TRUE(error_of("c.txt", "hm").starts_with(": problems are read from"));
  EXPECT_THROW(read_problems("/nonexistent/file.jsonl"), Error);
}

TEST(Task, ReadsTheGameOf24AndHoldsAllOfItOut) {
  const std::filesystem::path path = test_data() / "tasks" / "game24.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NOT TESTED: no " << path << " (set R1_TEST_DATA)";
  const std::vector<Problem> problems = read_problems(path);
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
}  // namespace r1
