// Whatever a program of the pool does, every row gets its answer or a failure that names it.
#include "reward/program/program_pool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <thread>

#include "base/sanitizer.h"
#include "reward/program/child_process.h"
#include "tests/reward/reward_program.h"

namespace r1::program_pool_test {
namespace {

ProgramConfig pool_of(const std::string& mode, int64_t workers = 2, int64_t in_flight = 4) {
  ProgramConfig config;
  config.name = "check";
  config.command = test::program(mode);
  config.folder = std::filesystem::temp_directory_path();
  config.workers = workers;
  config.in_flight = in_flight;
  config.timeout_s = 60;
  config.memory_mb = 0;
  return config;
}

RowToScore row(const std::string& id, const std::string& response) {
  Json json = Json::object();
  json.set("id", id).set("task", "number").set("question", "q").set("gold", "4").set("response", response);
  return {id, json.dump()};
}

// Returns twelve rows of different lengths. The rows in `bad` contain BAD.
std::vector<RowToScore> rows(std::initializer_list<int> bad = {}) {
  std::vector<RowToScore> out;
  for (int i = 0; i < 12; ++i) {
    const bool is_bad = std::ranges::find(bad, i) != bad.end();
    out.push_back(
        row("s" + std::to_string(i), std::string(static_cast<size_t>(i + 1), 'x') + (is_bad ? "BAD" : "")));
  }
  return out;
}

std::vector<ScoreAnswer> ask(const ProgramConfig& config, const std::vector<RowToScore>& rows,
                             std::vector<std::string>* notes = nullptr) {
  ProgramPool pool(config);
  std::vector<ScoreAnswer> answers = pool.ask(rows, {});
  if (notes != nullptr) *notes = pool.take_notes();
  return answers;
}

void expect_good(const std::vector<ScoreAnswer>& answers, std::initializer_list<int> bad = {}) {
  ASSERT_EQ(answers.size(), 12u);
  for (int i = 0; i < 12; ++i) {
    if (std::ranges::find(bad, i) != bad.end()) continue;
    const ScoreAnswer& a = answers[static_cast<size_t>(i)];
    EXPECT_EQ(a.status, SampleStatus::scored) << i << " " << a.why;
    EXPECT_EQ(a.score, i + 1) << i;
    EXPECT_EQ(a.why, "bytes " + std::to_string(i + 1)) << i;
  }
}

// Expects that rows 3 and 7 fail with a reason that contains `reason`, and that every other row is
// unaffected.
void expect_named(const std::string& mode, const std::string& reason, double timeout_s = 60,
                  int64_t memory_mb = 0) {
  for (const int64_t workers : {1, 3}) {
    for (const int64_t in_flight : {1, 16}) {
      SCOPED_TRACE(mode + " " + std::to_string(workers) + " " + std::to_string(in_flight));
      ProgramConfig config = pool_of(mode, workers, in_flight);
      config.timeout_s = timeout_s;
      config.memory_mb = memory_mb;
      const auto answers = ask(config, rows({3, 7}));
      expect_good(answers, {3, 7});
      for (const size_t i : {3u, 7u}) {
        EXPECT_EQ(answers[i].status, SampleStatus::verifier_failed);
        EXPECT_NE(answers[i].why.find(reason), std::string::npos) << answers[i].why;
        EXPECT_TRUE(answers[i].why.starts_with("check: ")) << answers[i].why;
      }
    }
  }
}

TEST(ProgramPool, ScoresDoNotDependOnWorkersOrOrder) {
  for (const char* mode : {"length", "reversed", "noisy"}) {
    for (const int64_t workers : {1, 2, 5}) {
      for (const int64_t in_flight : {1, 3, 16}) expect_good(ask(pool_of(mode, workers, in_flight), rows()));
    }
  }
}

TEST(ProgramPool, ACrashIsNamedPerRow) {
  expect_named("crash", kAddressSanitizer ? "it exited" : "it was killed by signal 11");
}
TEST(ProgramPool, AnExitIsNamedPerRowWithItsLastWords) {
  expect_named("exit", "it exited with status 3; its standard error ends with last words");
}
TEST(ProgramPool, AHangIsNamedPerRow) {
  expect_named("hang", "it gave no answer within 1.5 s", 1.5);
}
TEST(ProgramPool, GarbageIsNamedPerRow) {
  expect_named("garbage", "it printed a line that is no answer: Traceback, or a print");
}
TEST(ProgramPool, AnswersToRowsThatWereNotAskedAreNamed) {
  expect_named("wrong_id", "it answered nobody, which it was not asked");
}
TEST(ProgramPool, AnAnswerWithoutAScoreIsNamed) {
  expect_named("no_score", "its answer has no score: {\"id\":\"s");
}
TEST(ProgramPool, AProgramMaySayThatItCannotJudge) {
  expect_named("error", "it says: no idea");
}
TEST(ProgramPool, EndlessOutputIsNamedPerRow) {
  expect_named("flood", "it printed a line of more than");
}
TEST(ProgramPool, TheMemoryLimitHolds) {
  if (kAddressSanitizer) GTEST_SKIP() << "AddressSanitizer reserves more address space than any limit";
  expect_named("eat", "it ", 60, 512);
}

TEST(ProgramPool, TheFirstOfTwoAnswersCounts) {
  for (const int64_t in_flight : {1, 16}) {
    std::vector<std::string> notes;
    ProgramPool pool(pool_of("twice", 2, in_flight));
    for (int call = 0; call < 3; ++call) expect_good(pool.ask(rows(), {}));
    notes = pool.take_notes();
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_NE(notes[0].find("answered more than once"), std::string::npos) << notes[0];
  }
}

TEST(ProgramPool, AProgramThatNeverAnswersIsGivenUpSoon) {
  ProgramConfig config = pool_of("no_flush", 4, 16);
  config.timeout_s = 0.5;
  std::vector<RowToScore> many;
  for (int i = 0; i < 2000; ++i) many.push_back(row("m" + std::to_string(i), "x"));
  const auto answers = ask(config, many);
  for (const ScoreAnswer& a : answers) ASSERT_EQ(a.status, SampleStatus::verifier_failed);
  EXPECT_NE(answers.front().why.find("it gave no answer within 0.5 s"), std::string::npos)
      << answers.front().why;
  EXPECT_NE(answers.back().why.find("it answered none of the first"), std::string::npos)
      << answers.back().why;
  EXPECT_EQ(ask(pool_of("always_exit"), rows()).front().status, SampleStatus::verifier_failed);
}

TEST(ProgramPool, AMissingProgramFailsEveryRow) {
  ProgramConfig config = pool_of("length");
  config.command = {"/nonexistent/program"};
  for (const ScoreAnswer& a : ask(config, rows()))
    EXPECT_NE(a.why.find("no program /nonexistent/program"), std::string::npos) << a.why;
}

TEST(ProgramPool, TheProgramRunsInItsFolder) {
  ProgramConfig config = pool_of("cwd");
  const auto folder = std::filesystem::temp_directory_path() / ("r1_cwd_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::filesystem::create_symlink(test::this_binary(), folder / "check");
  config.folder = folder;
  config.command[0] = "./check";
  const auto answers = ask(config, rows());
  EXPECT_EQ(answers[0].why, folder.filename().string());
  std::filesystem::remove_all(folder);
}

TEST(ProgramPool, ACallCanBeStoppedAndThePoolUsedAgain) {
  ProgramConfig config = pool_of("hang");
  ProgramPool pool(config);
  struct Stop {};
  int ticks = 0;
  EXPECT_THROW(pool.ask(rows({3}),
                        [&] {
                          if (++ticks > 20) throw Stop();
                        }),
               Stop);
  expect_good(pool.ask(rows(), {}));
}

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  return text[text.rfind(')') + 2] != 'Z';
}

bool ends_soon(pid_t pid) {
  for (int i = 0; i < 600 && is_alive(pid); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return !is_alive(pid);
}

TEST(ProgramPool, NothingOutlivesThePool) {
  const auto file = std::filesystem::temp_directory_path() / ("r1_orphan_" + std::to_string(::getpid()));
  pid_t grandchild = 0;
  {
    ProgramConfig config = pool_of("orphan", 1);
    config.command.push_back(file.string());
    ProgramPool pool(config);
    expect_good(pool.ask(rows(), {}));
    for (int i = 0; i < 600 && !(std::ifstream(file) >> grandchild); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(grandchild > 0 && is_alive(grandchild));
  }
  EXPECT_TRUE(ends_soon(grandchild));
  std::filesystem::remove(file);
}

TEST(ProgramPool, ASigkilledOwnerLeavesNothingBehind) {
  const auto file = std::filesystem::temp_directory_path() / ("r1_orphan2_" + std::to_string(::getpid()));
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    ProcessGuard guard;
    std::vector<std::string> command = test::program("orphan");
    command.push_back(file.string());
    ChildProcess child(command, "", 0, guard);
    const pid_t pid = child.pid();
    [[maybe_unused]] const auto n = ::write(pipe[1], &pid, sizeof pid);
    for (;;) ::pause();
  }
  pid_t program = 0, grandchild = 0;
  ASSERT_EQ(::read(pipe[0], &program, sizeof program), static_cast<ssize_t>(sizeof program));
  for (int i = 0; i < 600 && !(std::ifstream(file) >> grandchild); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(is_alive(program) && grandchild > 0 && is_alive(grandchild));
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  EXPECT_TRUE(ends_soon(program));
  EXPECT_TRUE(ends_soon(grandchild)) << "the death signal reaches the child alone";
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace r1::program_pool_test
