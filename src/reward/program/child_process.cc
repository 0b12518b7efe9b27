#include "reward/program/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

extern char** environ;

namespace r1 {
namespace {

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw Error(fmt::format("cannot be started: no pipe: {}", std::strerror(errno)));
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    for (const int end : {read, write}) {
      if (end >= 0) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  // Makes an end non-blocking and passes it to the caller.
  static int take(int& end) {
    ::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | O_NONBLOCK);
    return std::exchange(end, -1);
  }
};

struct Launch {
  const char* path;
  char* const* argv;
  const char* folder;
  std::array<int, 3> streams;
  rlim_t memory;  // 0: no limit
};

// Runs in the new process, which still shares its parent's memory, so it makes only system calls. Returns
// only if it fails.
void become(const Launch& launch, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent died before the prctl
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &plain, nullptr);
  for (int i = 0; i < 3; ++i) {
    if (::dup2(launch.streams[static_cast<size_t>(i)], i) < 0) return;
  }
  ::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  const rlimit memory{launch.memory, launch.memory};
  if (launch.memory != 0 && ::setrlimit(RLIMIT_AS, &memory) != 0) return;
  if (::chdir(launch.folder) != 0) return;
  sigset_t empty;
  ::sigemptyset(&empty);
  ::sigprocmask(SIG_SETMASK, &empty, nullptr);
  ::execve(launch.path, launch.argv, environ);
}

// Starts the process with vfork, because posix_spawn can set neither limits nor PR_SET_PDEATHSIG, and fork
// would copy the page tables of a process with the weights of a model in memory. Sets `error` to the errno of
// a failure.
[[gnu::noinline]] pid_t launch_process(const Launch& launch, int& error) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no signal handler may run in the child
  const pid_t parent = ::getpid();
  volatile int failure = 0;
  const pid_t pid = ::vfork();
  if (pid == 0) {
    become(launch, parent);
    failure = errno;
    ::_exit(127);
  }
  error = pid < 0 ? errno : failure;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid > 0 && error != 0) ::waitpid(pid, nullptr, 0);
  return pid;
}

bool is_program(const std::filesystem::path& path) {
  std::error_code none;
  return std::filesystem::is_regular_file(path, none) && ::access(path.c_str(), X_OK) == 0;
}

std::string told(int status) {
  if (WIFEXITED(status)) return fmt::format("exited with status {}", WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  return fmt::format("was killed by signal {} ({})", number, ::strsignal(number));
}

}  // namespace

std::string find_program(const std::string& name, const std::filesystem::path& folder) {
  if (name.find('/') != std::string::npos) {
    const std::filesystem::path path = folder / name;
    return is_program(path) ? std::filesystem::absolute(path).string() : "";
  }
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "/usr/local/bin:/usr/bin:/bin" : variable;
  while (!name.empty() && !rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    const std::filesystem::path path = std::filesystem::path(rest.substr(0, end)) / name;
    if (path.is_absolute() && is_program(path)) return path.string();
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return "";
}

ChildProcess::ChildProcess(const std::vector<std::string>& command, const std::filesystem::path& folder,
                           int64_t memory_bytes, ProcessGuard& guard)
    : guard_(guard) {
  R1_CHECK(!command.empty(), "a command without words");
  const std::string path = find_program(command.front(), folder);
  if (path.empty()) throw Error(fmt::format("cannot be started: there is no program {}", command.front()));
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Pipe in, out, err;
  const std::string where = folder.empty() ? "." : folder.string();
  int error = 0;
  const pid_t pid = launch_process({.path = path.c_str(),
                                    .argv = argv.data(),
                                    .folder = where.c_str(),
                                    .streams = {in.read, out.write, err.write},
                                    .memory = static_cast<rlim_t>(memory_bytes)},
                                   error);
  if (error != 0) throw Error(fmt::format("cannot be started: {}: {}", path, std::strerror(error)));
  pid_ = pid;
  guard_.watch(pid_);
  input_ = Pipe::take(in.write);
  output_ = Pipe::take(out.read);
  errors_ = Pipe::take(err.read);
}

std::string ChildProcess::end(int wait_ms) {
  if (pid_ < 0) return "";
  int status = 0;
  pid_t ended = 0;
  for (int ms = 0;; ++ms) {
    // WNOWAIT leaves the child a zombie, so its id is not reused and the group can still be killed by it.
    siginfo_t info{};
    ended =
        ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? info.si_pid : 0;
    if (ended == pid_ || ms >= wait_ms) break;
    ::poll(nullptr, 0, 1);
  }
  ::kill(-pid_, SIGKILL);
  guard_.forget(pid_);
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  const bool by_itself = ended == pid_;
  pid_ = -1;
  return by_itself ? told(status) : "";
}

ChildProcess::~ChildProcess() {
  end(0);
  for (const int fd : {input_, output_, errors_}) {
    if (fd >= 0) ::close(fd);
  }
}

}  // namespace r1
