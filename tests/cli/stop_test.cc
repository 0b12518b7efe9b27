// Ctrl-C as a user presses it: the step is saved, the command to resume is printed, and the resumed run ends
// like a run that was never stopped. The test waits for output and never for a fixed time.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::stop_test {
namespace {

class Running {
 public:
  explicit Running(const std::vector<std::string>& arguments) {
    std::vector<std::string> words{R1_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    int ends[2];
    R1_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    R1_CHECK(::posix_spawn(&pid_, R1_BINARY, &actions, nullptr, argv.data(), environ) == 0, "spawn");
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~Running() { ::close(from_); }
  // Reads until the program has written `needle`. Returns false if it ended before that.
  bool says(const std::string& needle) {
    while (said_.find(needle) == std::string::npos) {
      if (!read_on()) return false;
    }
    return true;
  }
  void signal(int number) const { ASSERT_EQ(::kill(pid_, number), 0); }
  int wait() {
    while (read_on()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  const std::string& said() const { return said_; }

 private:
  bool read_on() {
    char buffer[4096];
    const ssize_t n = ::read(from_, buffer, sizeof buffer);
    if (n > 0) said_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }
  pid_t pid_ = -1;
  int from_ = -1;
  std::string said_;
};

std::string grpo_config(const std::string& name, int steps = 6) {
  return test::write(name + ".toml", "name = \"t\"\nmodel = \"r1-nano-base\"\nout = \"" +
                                         (test::scratch() / name).string() +
                                         "\"\n[data]\ntask = \"countdown3\"\n[rollout]\nprompts = 4\ngroup = "
                                         "8\nmax_tokens = 60\n[optimizer]\nsteps = " +
                                         std::to_string(steps) + "\n");
}

std::string weights(const std::string& name) {
  return read_file(test::scratch() / name / "model/model.safetensors");
}

// Returns the text after "resume with: ".
std::string resume_command(const std::string& said) {
  const std::string lead = "resume with: ";
  const size_t at = said.find(lead), end = said.find('\n', at);
  return at == std::string::npos ? "" : said.substr(at + lead.size(), end - at - lead.size());
}

TEST(CliStop, CtrlCSavesAndTheCommandItPrintsEndsWithTheSameWeights) {
  ASSERT_EQ(test::r1_run({"grpo", grpo_config("whole")}).status, 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = "stopped" + std::to_string(signal);
    Running run({"grpo", grpo_config(name), "--threads", "1"});
    ASSERT_TRUE(run.says("step 2/6")) << run.said();
    run.signal(signal);
    EXPECT_EQ(run.wait(), 128 + signal) << run.said();
    EXPECT_NE(run.said().find(" of 6 is saved\n"), std::string::npos) << run.said();
    EXPECT_FALSE(std::filesystem::exists(test::scratch() / name / "model"));
    const std::string command = resume_command(run.said());
    ASSERT_TRUE(command.ends_with(name + ".toml --resume")) << command;
    ASSERT_EQ(std::system((command + " --threads 1 >/dev/null 2>&1").c_str()), 0) << command;
    EXPECT_TRUE(weights(name) == weights("whole"));
  }
}

// timeout(1) sends its signal to the process, and then to its group.
TEST(CliStop, ASignalThatComesTwiceAtOnceIsOneRequest) {
  Running run({"grpo", grpo_config("doubled", 100000), "--threads", "1"});
  ASSERT_TRUE(run.says("step      1/100000")) << run.said();
  run.signal(SIGTERM);
  ASSERT_TRUE(run.says("stopping: ")) << run.said();  // the first one has taken effect
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 143) << run.said();
  EXPECT_NE(run.said().find(" of 100000 is saved\n"), std::string::npos) << run.said();
}

TEST(CliStop, ASecondCtrlCStopsAtOnce) {
  Running run({"grpo", grpo_config("twice", 100000), "--threads", "1"});
  ASSERT_TRUE(run.says("step      1/100000")) << run.said();
  // The second signal may come before or after the first one has taken effect. The result is the same.
  run.signal(SIGINT);
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), 130) << run.said();
}

TEST(CliStop, ARecipeSaysHowToGoOn) {
  const std::string stage = grpo_config("stage");
  const std::string recipe = test::write(
      "r.toml",
      "name = \"r\"\nout = \"" + (test::scratch() / "r").string() +
          "\"\n[[stage]]\nname = \"zero\"\nkind = \"grpo\"\nconfig = \"stage.toml\"\n[[stage]]\nname = "
          "\"after\"\nkind = \"eval\"\nmodel = \"@zero\"\ntask = \"countdown3\"\nproblems = 4\nsamples = 1\n"
          "max_tokens = 20\n");
  Running run({"recipe", recipe, "--threads", "1"});
  ASSERT_TRUE(run.says("step 1/6")) << run.said();
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), 130) << run.said();
  const std::string command = resume_command(run.said());
  ASSERT_TRUE(command.ends_with("r.toml --resume")) << run.said();
  const std::string log = (test::scratch() / "log").string();
  ASSERT_EQ(std::system((command + " --threads 1 2>" + log).c_str()), 0) << command;
  const std::string said = read_file(log), best = (test::scratch() / "r/zero/model").string();
  EXPECT_NE(said.find("the best model is " + best + ": pass@1 "), std::string::npos) << said;
  EXPECT_NE(said.find("talk with it: "), std::string::npos) << said;
  EXPECT_EQ(read_json(test::scratch() / "r/recipe.json").get_string("best"), best);
}

// The names and paths of the default recipe are valid in any working directory.
TEST(CliStop, ShippedNamesAndRecipesWorkFromAnyDirectory) {
  const auto before = std::filesystem::current_path();
  std::filesystem::create_directories(test::scratch() / "somewhere");
  std::filesystem::current_path(test::scratch() / "somewhere");
  Running run({"recipe", std::string(R1_SOURCE_DIR) + "/recipes/r1-nano.toml", "--threads", "1"});
  std::filesystem::current_path(before);
  ASSERT_TRUE(run.says("[1/6] before (eval)")) << run.said();
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), 130) << run.said();
  EXPECT_TRUE(std::filesystem::exists(test::scratch() / "somewhere/runs/r1-nano/recipe.json"));
}

}  // namespace
}  // namespace r1::stop_test
