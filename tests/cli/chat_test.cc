// The conversation, on a terminal of its own.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>

#include <chrono>
#include <csignal>

#include "tests/cli/cli_test_util.h"

namespace r1 {
namespace {

class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& arguments) {
    std::vector<std::string> words{R1_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::forkpty(&fd_, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(fd_);
  }
  void type(const std::string& text) {
    ASSERT_EQ(::write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // All that is shown up to and with `needle`, or until nothing more comes.
  std::string read_until(const std::string& needle) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    size_t at = 0;
    while ((at = shown_.find(needle)) == std::string::npos && std::chrono::steady_clock::now() < give_up) {
      struct pollfd poll {
        fd_, POLLIN, 0
      };
      if (::poll(&poll, 1, 1000) <= 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(fd_, buffer, sizeof buffer);
      if (n <= 0) break;
      shown_.append(buffer, static_cast<size_t>(n));
    }
    const std::string seen = shown_.substr(0, at == std::string::npos ? at : at + needle.size());
    shown_.erase(0, seen.size());
    return seen;
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string shown_;  // and not asked for yet
};

std::string countdown_model() {
  static const std::string path = [] {
    const auto model = test::make_model("chat-model");
    write_file_atomically(
        model / "README.md",
        "---\nlicense: mit\n---\n# Title\n\nA tiny model that\nplays countdown.\n\nMore.\n");
    return model.string();
  }();
  return path;
}

TEST(CliChat, GreetsChecksAnswersAndEndsOnAnEmptyLine) {
  Terminal terminal({"run", countdown_model(), "--max-tokens", "12", "--threads", "1"});
  const std::string greeting = terminal.read_until("\n> ");
  EXPECT_NE(greeting.find("A tiny model that plays countdown.\r\n"), std::string::npos) << greeting;
  EXPECT_EQ(greeting.find("More"), std::string::npos) << greeting;
  EXPECT_NE(greeting.find("Three problems to try"), std::string::npos) << greeting;
  terminal.type("Use 3, 5 and 7 to make 24.\n");
  const std::string answer = terminal.read_until("\n> ");
  EXPECT_NE(answer.find("checked: not right ("), std::string::npos) << answer;
  terminal.type("hello there\n");
  const std::string other = terminal.read_until("\n> ");
  EXPECT_EQ(other.find("checked"), std::string::npos) << other;
  terminal.type("\n");
  EXPECT_EQ(terminal.wait(), 0);
}

TEST(CliChat, CtrlCStopsTheAnswerNotTheProgram) {
  // Without an end-of-sequence token and with all of the context to fill, the answer takes a while.
  const auto model = test::make_model("chat-long");
  Json config = read_json(model / "config.json");
  config.set("max_position_embeddings", 100000);
  write_file_atomically(model / "config.json", config.dump(2));
  Terminal terminal({"run", model.string(), "--ignore-eos", "--max-tokens", "90000", "--threads", "1"});
  terminal.read_until("\n> ");
  terminal.type("Use 3, 5 and 7 to make 24.\n");
  ASSERT_FALSE(terminal.read_until("make 24.\r\n").empty());
  ::usleep(1500000);  // some tokens: long enough on a busy machine, too
  terminal.type("\x03");
  const std::string stopped = terminal.read_until("\n> ");
  EXPECT_NE(stopped.find("stopped"), std::string::npos) << stopped.substr(0, 2000);
  for (int i = 0; i < 20; ++i) {  // at the prompt: a hint, even the moment that it appears
    terminal.type("\x03");
    ASSERT_NE(terminal.read_until("Ctrl-D ends)").find("Ctrl-D"), std::string::npos);
    terminal.read_until("\n> ");
  }
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0);
}

}  // namespace
}  // namespace r1
