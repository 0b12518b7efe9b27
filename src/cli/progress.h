// cli/progress.h: the progress of a long command on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "train/reporter.h"

namespace r1 {

struct TerminalStyle {
  bool terminal = false;  // lines may be rewritten in place
  bool utf8 = false;      // bars have eighths of a cell; else they consist of '#'
};
TerminalStyle stderr_style();

// Prints one line per step. Reinforcement learning has bars, one under the other, so that they form a curve:
//   step  12/60  accuracy ███████▌          0.45  thinking ████              31 tok  2.9 s/step  ETA 2m20s
// Pre-training has a line that is rewritten in place on a terminal; elsewhere every kQuietSteps-th is
// printed:
//   step 120/3700  loss 0.512  lr 9.80e-04  25.1k tok/s  ETA 3m10s
class TerminalReporter : public Reporter {
 public:
  using Sink = std::function<void(std::string_view)>;
  using Clock = std::function<double()>;  // seconds
  TerminalReporter(Sink sink, Clock clock, TerminalStyle style);
  static TerminalReporter on_stderr();
  ~TerminalReporter() override;  // ends a line that is still being rewritten

  void step(const Json& metrics, int64_t steps) override;
  void note(const std::string& line) override;

  static constexpr int64_t kQuietSteps = 50;

 private:
  void pace(int64_t step);
  std::string eta(int64_t step, int64_t steps) const;
  void end_line();

  Sink sink_;
  Clock clock_;
  TerminalStyle style_;
  int64_t last_step_ = -1;  // of the current run
  double last_time_ = 0;
  double step_seconds_ = 0;    // smoothed; 0: not known yet
  double thinking_scale_ = 0;  // tokens of a full bar; 0: not chosen yet
  size_t open_line_ = 0;       // cells of the line that is being rewritten
};

// Returns a bar of `cells` cells, of which the share `share` is full.
std::string bar(double share, int cells, bool utf8);
std::string short_time(double seconds);  // "2m20s"
std::string short_count(double count);   // "25.1k"

// "1200/5000 samples", rewritten in place on a terminal; elsewhere silent.
class Counter {
 public:
  Counter(std::string what, int64_t total);
  ~Counter() { clear(); }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  void add(int64_t n);
  void clear();  // wipes the line

 private:
  std::string what_;
  int64_t total_;
  int64_t done_ = 0;
  bool shown_ = false;
  bool terminal_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace r1
