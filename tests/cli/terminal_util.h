// tests/cli/terminal_util.h: the program on a terminal of its own, typed to by a test.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include <chrono>
#include <csignal>
#include <map>

#include "tests/cli/cli_test_util.h"

namespace r1::test {

// The beginning of a prompt. From here on the terminal marks pasted text.
inline constexpr const char* kPrompt = "\x1b[?2004h> ";
inline constexpr const char* kFurtherPrompt = "\x1b[?2004h. ";

class Terminal {
 public:
  // The history file lies in `state`, never in the user's home.
  explicit Terminal(const std::vector<std::string>& arguments,
                    std::map<std::string, std::string> environment = {}) {
    environment.emplace("TERM", "xterm");
    environment.emplace("XDG_STATE_HOME", (scratch() / "state").string());
    environment.emplace("EDITRC", "/dev/null");
    std::vector<std::string> words{R1_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    if (std::ranges::find(words, "--threads") == words.end()) words.insert(words.end(), {"--threads", "1"});
    if (std::ranges::find(words, "--seed") == words.end()) words.insert(words.end(), {"--seed", "1"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    struct winsize size {};
    size.ws_row = 50;
    size.ws_col = 200;  // so that no line of a test is broken
    pid_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      ::unsetenv("NO_COLOR");
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
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
  void send(int signal) { ASSERT_EQ(::kill(pid_, signal), 0); }
  // All that is shown up to and with `needle`. A minute without it, or the program's end, is a failure.
  std::string read_until(const std::string& needle) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    size_t at = 0;
    while ((at = shown_.find(needle)) == std::string::npos && std::chrono::steady_clock::now() < give_up) {
      if (!read_some()) break;
    }
    EXPECT_NE(at, std::string::npos) << "not shown: " << needle << "\nbut: " << shown_;
    const std::string seen = shown_.substr(0, at == std::string::npos ? at : at + needle.size());
    shown_.erase(0, seen.size());
    return seen;
  }
  // All up to the prompt for the next message.
  std::string answer() { return read_until(kPrompt); }
  std::string ask(const std::string& message) {
    type(message + "\n");
    return answer();
  }
  // The rest of what is shown, until the program closes the terminal. A minute without its end is a failure.
  std::string rest() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (read_some()) {
      if (std::chrono::steady_clock::now() < give_up) continue;
      ADD_FAILURE() << "the program does not end; it has shown: " << shown_;
      ::kill(pid_, SIGKILL);
      break;
    }
    return std::exchange(shown_, "");
  }
  // Exit status; 128 + signal if one ended it.
  int wait() {
    rest();
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // Until the program has stopped, as Ctrl-Z does it.
  void wait_for_stop() {
    int status = 0;
    ASSERT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    ASSERT_TRUE(WIFSTOPPED(status)) << "it ended";
  }
  // Returns true if typed characters wait for Enter and are echoed, as a shell expects it.
  bool is_plain() const {
    struct termios modes {};
    ::tcgetattr(fd_, &modes);
    return (modes.c_lflag & ICANON) != 0 && (modes.c_lflag & ECHO) != 0;
  }
  // The prompt is there a moment before the editor reads keys.
  void wait_for_editor() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (is_plain() && std::chrono::steady_clock::now() < give_up) ::usleep(1000);
    ASSERT_FALSE(is_plain()) << "the editor does not read keys";
  }

 private:
  bool read_some() {
    struct pollfd poll {
      fd_, POLLIN, 0
    };
    if (::poll(&poll, 1, 1000) == 0) return true;
    char buffer[4096];
    const ssize_t n = ::read(fd_, buffer, sizeof buffer);
    if (n <= 0) return false;
    shown_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  pid_t pid_ = -1;
  int fd_ = -1;
  std::string shown_;  // and not asked for yet
};

}  // namespace r1::test
