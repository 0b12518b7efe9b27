// cli/stop_signals.h: Ctrl-C and `kill` end a training command in good order.
#pragma once

#include <functional>
#include <string>

namespace r1 {

// While it lives, the first SIGINT or SIGTERM only sets a flag, and says on stderr that it did; a second one
// ends the process at once. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  static bool asked();
  // 128 + the signal, as a shell reports a process that a signal ended: 130 for Ctrl-C.
  static int exit_status();
};

// The end of a stopped command: what was saved, and the command that goes on. Returns the exit status.
int report_stop(const std::string& what, const std::string& command);

}  // namespace r1
