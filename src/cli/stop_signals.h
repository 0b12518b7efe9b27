// cli/stop_signals.h: lets a training command save its state on Ctrl-C and `kill`.
#pragma once

#include <functional>
#include <string>

namespace r1 {

// While an instance lives, the first SIGINT or SIGTERM only sets a flag and says so on stderr; a second one
// ends the process at once. At most one instance may live at a time.
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

// Reports what a stopped command saved and the command that resumes it. Returns the exit status.
int report_stop(const std::string& what, const std::string& command);

}  // namespace r1
