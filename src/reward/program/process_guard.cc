#include "reward/program/process_guard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "base/error.h"

extern char** environ;

namespace r1 {
namespace {

constexpr const char* kGuardName = "r1-guard";

// Reads "+123\n" (watch) and "-123\n" (forget) until the pipe ends, which it does when the process that
// writes it ends. Then kills the watched groups.
[[noreturn]] void stand_guard() {
  std::set<pid_t> groups;
  std::string rest;
  for (;;) {
    std::array<char, 4096> chunk;
    const ssize_t n = ::read(0, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    rest.append(chunk.data(), static_cast<size_t>(n));
    for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      const auto group = static_cast<pid_t>(std::strtol(rest.c_str() + 1, nullptr, 10));
      if (rest[0] == '+') {
        groups.insert(group);
      } else {
        groups.erase(group);
      }
    }
  }
  for (const pid_t group : groups) {
    if (group > 1) ::kill(-group, SIGKILL);
  }
  ::_exit(0);
}

// Runs before main, in every program that contains this file.
[[gnu::constructor]] void stand_guard_if_asked(int argc, char** argv) {
  if (argc == 1 && std::strcmp(argv[0], kGuardName) == 0) stand_guard();
}

}  // namespace

ProcessGuard::ProcessGuard() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw Error(fmt::format("no pipe: {}", std::strerror(errno)));
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, ends[0], 0);
  ::posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addclosefrom_np(&files, 3);
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);  // so that Ctrl-C does not reach the guard
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string name = kGuardName;
  std::array<char*, 2> argv = {name.data(), nullptr};
  const int error = ::posix_spawn(&pid_, "/proc/self/exe", &files, &attributes, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  ::close(ends[0]);
  pipe_ = ends[1];
  if (error == 0) return;
  ::close(pipe_);
  throw Error(fmt::format("the guard of reward programs cannot be started: {}", std::strerror(error)));
}

ProcessGuard::~ProcessGuard() {
  ::close(pipe_);
  // A forked child may still hold the pipe, and then the guard would not end by itself.
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ProcessGuard::tell(char sign, pid_t group) const {
  const std::string line = fmt::format("{}{}\n", sign, group);
  [[maybe_unused]] const ssize_t n =
      ::write(pipe_, line.data(), line.size());  // a pipe takes a short line whole
}

void ProcessGuard::watch(pid_t group) {
  tell('+', group);
}
void ProcessGuard::forget(pid_t group) {
  tell('-', group);
}

}  // namespace r1
