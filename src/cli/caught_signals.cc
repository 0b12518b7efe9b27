#include "cli/caught_signals.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace r1 {
namespace {

volatile std::sig_atomic_t seen_signals[NSIG];
int wake_pipe[2] = {-1, -1};  // the ends for reading and for writing

void note(int signal) {
  const int before = errno;
  seen_signals[signal] = 1;
  [[maybe_unused]] const ssize_t full_is_fine = ::write(wake_pipe[1], "", 1);
  errno = before;
}

}  // namespace

CaughtSignals::CaughtSignals(std::initializer_list<int> signals) {
  if (wake_pipe[0] < 0 && ::pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Error(fmt::format("no pipe can be made: {}", std::strerror(errno)));
  for (const int signal : signals) {
    forget(signal);
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, &former_[signal]);
  }
}

CaughtSignals::~CaughtSignals() {
  for (const auto& [signal, action] : former_) ::sigaction(signal, &action, nullptr);
}

bool CaughtSignals::seen(int signal) {
  return seen_signals[signal] != 0;
}

void CaughtSignals::forget(int signal) {
  seen_signals[signal] = 0;
}

int CaughtSignals::wake_fd() {
  return wake_pipe[0];
}

void CaughtSignals::clear_wake() {
  char dropped[64];
  while (::read(wake_pipe[0], dropped, sizeof dropped) > 0) {
  }
}

int seen_termination() {
  for (const int signal : {SIGTERM, SIGHUP}) {
    if (CaughtSignals::seen(signal)) return signal;
  }
  return 0;
}

void end_by_signal(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  ::raise(signal);
  std::_Exit(128 + signal);  // reached if the signal is blocked
}

}  // namespace r1
