#include "cli/pull_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/byte_text.h"
#include "cli/output.h"
#include "cli/printable.h"

namespace r1 {
namespace {

constexpr int64_t kLargeFile = 10'000'000;

}  // namespace

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 8.64e7)));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

PullProgress::PullProgress() : terminal_(stderr_is_terminal()) {}

PullProgress::~PullProgress() {
  clear();
}

void PullProgress::begin(int64_t total, int64_t present, int64_t files) {
  const std::lock_guard lock(mutex_);
  total_ = total;
  present_ = present;
  if (present == total) return;
  clear();
  write_stderr(
      fmt::format("r1: {} files, {}{}\n", files, byte_text(total),
                  present > 0 ? fmt::format(", of which {} are here already", byte_text(present)) : ""));
}

void PullProgress::file(const std::string& path, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  file_ = printable(path);
  if (!terminal_ && bytes >= kLargeFile) write_stderr(fmt::format("r1: {} ({})\n", file_, byte_text(bytes)));
}

void PullProgress::bytes(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  transferred_ += bytes;
  show(false);
}

void PullProgress::note(const std::string& line) {
  const std::lock_guard lock(mutex_);
  clear();
  write_stderr("r1: " + line + "\n");
}

// The rate is that of the last seconds.
void PullProgress::show(bool now) {
  constexpr double kNew = 0.3;
  const Clock::time_point at = Clock::now();
  const double since = std::chrono::duration<double>(at - rated_).count();
  if (since >= 0.5) {
    const double fresh = static_cast<double>(transferred_ - rated_bytes_) / since;
    rate_ = rate_ == 0 ? fresh : (1 - kNew) * rate_ + kNew * fresh;
    rated_ = at;
    rated_bytes_ = transferred_;
  }
  if (total_ == 0 || (!now && at < next_)) return;
  if (!terminal_ && next_ == begin_) {  // nothing in the first seconds
    next_ = at + std::chrono::seconds(static_cast<int64_t>(kQuietSeconds));
    return;
  }
  next_ = at + (terminal_ ? std::chrono::milliseconds(100)
                          : std::chrono::milliseconds(static_cast<int64_t>(kQuietSeconds * 1000)));
  write_stderr(terminal_ ? "\r" + line() + "\x1b[K" : "r1: " + line() + "\n");
  shown_ = terminal_;
}

std::string PullProgress::line() const {
  const int64_t done = std::clamp<int64_t>(present_ + transferred_, 0, total_);
  std::string out = fmt::format("{} of {}  {:.0f} %", byte_text(done), byte_text(total_),
                                100.0 * static_cast<double>(done) / static_cast<double>(total_));
  if (rate_ > 0) {
    out += fmt::format("  {}/s  {} left", byte_text(rate_),
                       clock_text(static_cast<double>(total_ - done) / rate_));
  }
  return out + "  " + file_;
}

void PullProgress::clear() {
  if (shown_) write_stderr("\r\x1b[K");
  shown_ = false;
}

int64_t PullProgress::transferred() const {
  const std::lock_guard lock(mutex_);
  return transferred_;
}
int64_t PullProgress::present() const {
  const std::lock_guard lock(mutex_);
  return present_ + transferred_;
}
int64_t PullProgress::total() const {
  const std::lock_guard lock(mutex_);
  return total_;
}
double PullProgress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

}  // namespace r1
