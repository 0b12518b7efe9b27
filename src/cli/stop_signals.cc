#include "cli/stop_signals.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <string_view>

#include "cli/output.h"

namespace r1 {
namespace {

volatile sig_atomic_t stop_signal = 0;
volatile time_t stop_second = 0;  // of the monotonic clock
struct sigaction before_int, before_term;

time_t monotonic_second() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

// timeout(1), terminals and service managers send a signal to the process and to its group, so that it may come twice. Only
// a later one asks to stop at once.
extern "C" void on_stop_signal(int signal) {
  constexpr time_t kLater = 2;
  if (stop_signal != 0) {
    if (monotonic_second() - stop_second < kLater) return;
    ::_exit(128 + signal);  // safe, because the files on disk are whole at any time
  }
  stop_signal = signal;
  stop_second = monotonic_second();
  constexpr std::string_view kLine =
      "\nstopping: what is done will be saved (once more to stop at once, without the steps since the last "
      "checkpoint)\n";
  if (::write(STDERR_FILENO, kLine.data(), kLine.size()) < 0) return;  // nobody reads stderr
}

}  // namespace

StopSignals::StopSignals() {
  stop_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &before_int);
  ::sigaction(SIGTERM, &action, &before_term);
}

StopSignals::~StopSignals() {
  ::sigaction(SIGINT, &before_int, nullptr);
  ::sigaction(SIGTERM, &before_term, nullptr);
}

bool StopSignals::asked() {
  return stop_signal != 0;
}

int StopSignals::exit_status() {
  return 128 + stop_signal;
}

int report_stop(const std::string& what, const std::string& command) {
  write_stderr(what + "\nresume with: " + command + "\n");
  return StopSignals::exit_status();
}

}  // namespace r1
