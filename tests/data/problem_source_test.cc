// Problems by index are the same in every run and do not depend on earlier calls.
#include "data/problem_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace r1::problem_source_test {
namespace {

namespace fs = std::filesystem;

class ProblemSources : public testing::Test {
 protected:
  ProblemSources() : root_(fs::temp_directory_path() / ("r1-problems-" + std::to_string(::getpid()))) {
    fs::create_directories(root_);
  }
  ~ProblemSources() override { fs::remove_all(root_); }

  std::string file(const std::string& name, const std::string& text) const {
    write_file_atomically(root_ / name, text);
    return (root_ / name).string();
  }
  // Questions q0 .. q(n-1) with the answers 0 .. n-1.
  std::string numbered(const std::string& name, int n, int from = 0) const {
    std::string text;
    for (int i = from; i < from + n; ++i)
      text += Json::object().set("question", "q" + std::to_string(i)).set("answer", i).dump() + "\n";
    return file(name, text);
  }
  static std::vector<std::string> questions(const ProblemSource& source, int64_t from, int64_t count) {
    std::vector<std::string> out;
    for (int64_t i = from; i < from + count; ++i) out.push_back(source.at(i).question);
    return out;
  }
  static ProblemData data(std::vector<std::string> files) {
    ProblemData d;
    d.task = "math";
    d.files = std::move(files);
    return d;
  }

  fs::path root_;
};

TEST_F(ProblemSources, ATaskIsItsGeneratedList) {
  const ProblemSource source = ProblemSource::of_task("countdown3", 7, Split::train);
  EXPECT_EQ(source.size(), 0);
  for (const int64_t i : {5, 0, 12345})
    EXPECT_EQ(source.at(i), make_problem("countdown3", 7, static_cast<uint64_t>(i), Split::train));
}

TEST_F(ProblemSources, WithoutShuffleEpochsRepeatTheFilesInOrder) {
  ProblemData d = data({numbered("a.jsonl", 3), numbered("b.jsonl", 2, 3)});
  d.shuffle = false;
  const ProblemSource source = ProblemSource::open(d, 1, {});
  EXPECT_EQ(source.size(), 5);
  EXPECT_EQ(questions(source, 0, 7), (std::vector<std::string>{"q0", "q1", "q2", "q3", "q4", "q0", "q1"}));
}

TEST_F(ProblemSources, AnEpochIsEveryProblemOnceInAnOrderOfItsOwn) {
  const ProblemData d = data({numbered("a.jsonl", 50)});
  const ProblemSource source = ProblemSource::open(d, 1, {}), again = ProblemSource::open(d, 1, {}),
                      other = ProblemSource::open(d, 2, {});
  const auto first = questions(source, 0, 50), second = questions(source, 50, 50);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 50u);
  EXPECT_EQ(std::set(second.begin(), second.end()).size(), 50u);
  EXPECT_NE(first, second);
  EXPECT_NE(first, questions(other, 0, 50));
  for (int64_t i = 99; i >= 0; --i)  // backwards, because the result must not depend on earlier calls
    EXPECT_EQ(again.at(i).question, (i < 50 ? first : second)[static_cast<size_t>(i % 50)]);
}

TEST_F(ProblemSources, RepeatedRowsAreLeftOutAndCounted) {
  const std::string path =
      file("a.jsonl",
           "{\"question\": \"one  two\", \"answer\": \"3\"}\n{\"question\": \"one two\", "
           "\"answer\": 3}\n{\"question\": \"one two\", \"answer\": \"4\"}\n");
  ProblemData d = data({path});
  const ProblemSource source = ProblemSource::open(d, 1, {});
  EXPECT_EQ(source.size(), 2);
  EXPECT_EQ(source.notes().at(0), path + ": 2 of 3 rows are used (question/answer); 1 repeat an earlier row");
  d.deduplicate = false;
  EXPECT_EQ(ProblemSource::open(d, 1, {}).size(), 3);
}

TEST_F(ProblemSources, TheTwoSidesShareNoQuestionWhateverTheOrder) {
  ProblemData d = data({numbered("a.jsonl", 1000)});
  d.shuffle = false;
  d.held_out = 0.2;
  d.side = ProblemData::Side::train;
  const ProblemSource train = ProblemSource::open(d, 1, {});
  d.side = ProblemData::Side::held_out;
  const ProblemSource held_out = ProblemSource::open(d, 9, {});
  EXPECT_EQ(train.size() + held_out.size(), 1000);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 200, 50);
  auto all = questions(train, 0, train.size());
  for (const std::string& q : questions(held_out, 0, held_out.size())) {
    EXPECT_EQ(std::ranges::find(all, q), all.end());
    EXPECT_TRUE(is_held_out_question(" " + q + "\n", 0.2)) << "white space changes no side";
  }
  EXPECT_FALSE(is_held_out_question("q", 0));
  EXPECT_TRUE(is_held_out_question("q", 1));
}

TEST_F(ProblemSources, ALimitTakesTheFirstProblems) {
  ProblemData d = data({numbered("a.jsonl", 10), numbered("b.jsonl", 10, 10)});
  d.limit = 12;
  d.shuffle = false;
  const ProblemSource source = ProblemSource::open(d, 1, {});
  EXPECT_EQ(source.size(), 12);
  EXPECT_EQ(source.at(11).question, "q11");
}

TEST_F(ProblemSources, ARowThatIsLeftOutIsCountedAndNamed) {
  const std::string path = file("a.jsonl",
                                "{\"question\": \"Q\", \"answer\": \"1\"}\n{\"question\": "
                                "\"R\"}\n{\"question\": \"bad\", \"answer\": \"2\"}\n");
  const ProblemSource source = ProblemSource::open(data({path}), 1, [](const Problem& problem, const Json&) {
    if (problem.question == "bad") throw Error("is refused by the check");
  });
  EXPECT_EQ(source.size(), 1);
  ASSERT_EQ(source.notes().size(), 2u);
  EXPECT_EQ(source.notes()[0], path + ": 1 of 3 rows are used (question/answer)");
  EXPECT_TRUE(source.notes()[1].starts_with(
      "2 of 3 rows cannot be used and are left out; the first: " + path + ":2: "))
      << source.notes()[1];
  const std::string none = file("none.jsonl", "{\"question\": \"R\"}\n");
  try {
    ProblemSource::open(data({none}), 1, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with("no row can be used; the first: " + none + ":1: "))
        << e.what();
  }
}

TEST_F(ProblemSources, SettingsOfFilesNeedFiles) {
  const auto error = [](const std::string& text) -> std::string {
    try {
      ConfigFile file = ConfigFile::parse("[data]\n" + text, "f.toml");
      read_problem_data(file);
      file.finish();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(error("limit = 5"), "f.toml:2: data.limit is for data.files, which is missing");
  EXPECT_NE(error("split = 'test'\nfiles = ['f']").find("data.split"), std::string::npos);
  EXPECT_NE(error("task = 'maths'\nfiles = ['f']").find("data.task"), std::string::npos);
  EXPECT_NE(error("question = '{{ a'\nfiles = ['f']").find("data.question"), std::string::npos);
  EXPECT_EQ(error("files = ['f']\nsplit = 'train'\nheld_out = 0.1\nquestion = 'q.text'\nanswer = 'a'"), "");
  ConfigFile file = ConfigFile::parse("[data]\nfiles = ['f']", "/x/f.toml");
  const ProblemData d = read_problem_data(file);
  EXPECT_EQ(d.files, (std::vector<std::string>{"/x/f"}));
  EXPECT_EQ(d.task, "math");
}

}  // namespace
}  // namespace r1::problem_source_test
