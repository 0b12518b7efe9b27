// cli/caught_signals.h: signals that a command handles itself because it must clean up first: end an answer,
// restore a terminal.
#pragma once

#include <csignal>
#include <initializer_list>
#include <map>

namespace r1 {

// While an instance lives, its signals only set a flag and make wake_fd() readable; the destructor restores
// the former actions. Any thread of the process may receive the signal, so a flag alone does not end a
// blocked read(): a reader must poll wake_fd() too. Instances nest. Only the main thread may use them.
class CaughtSignals {
 public:
  explicit CaughtSignals(std::initializer_list<int> signals);  // throws Error
  CaughtSignals(const CaughtSignals&) = delete;
  CaughtSignals& operator=(const CaughtSignals&) = delete;
  ~CaughtSignals();

  static bool seen(int signal);
  static void forget(int signal);
  static int wake_fd();      // -1 before the first instance
  static void clear_wake();  // so that wake_fd() is readable only after a new signal

 private:
  std::map<int, struct sigaction> former_;
};

// Returns SIGTERM or SIGHUP if one was seen, else 0.
int seen_termination();

// Ends the process by the signal, as if it had never been caught: the parent sees the right status.
[[noreturn]] void end_by_signal(int signal);

}  // namespace r1
