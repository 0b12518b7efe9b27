// cli/pull_progress.h: the progress of a download on standard error.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "formats/hub.h"

namespace r1 {

// On a terminal, one line that is rewritten in place:
//   1.50/3.55 GB  42 %  45.2 MB/s  0:45 left  model.safetensors
// Elsewhere, a line as each large file begins and every kQuietSeconds.
class PullProgress final : public PullObserver {
 public:
  PullProgress();
  ~PullProgress() override;
  PullProgress(const PullProgress&) = delete;
  PullProgress& operator=(const PullProgress&) = delete;

  void begin(int64_t total, int64_t present, int64_t files) override;
  void file(const std::string& path, int64_t bytes) override;
  void bytes(int64_t bytes) override;
  void note(const std::string& line) override;

  int64_t transferred() const;  // bytes that came
  int64_t present() const;      // with those that were there before
  int64_t total() const;
  double seconds() const;

  static constexpr double kQuietSeconds = 10;

 private:
  using Clock = std::chrono::steady_clock;
  std::string line() const;
  void show(bool now);
  void clear();

  mutable std::mutex mutex_;  // guards what follows
  const bool terminal_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point next_ = begin_, rated_ = begin_;
  int64_t total_ = 0, present_ = 0, transferred_ = 0, rated_bytes_ = 0;
  double rate_ = 0;  // bytes per second, smoothed
  std::string file_;
  bool shown_ = false;
};

// "0:45", "1:02:03".
std::string clock_text(double seconds);

}  // namespace r1
