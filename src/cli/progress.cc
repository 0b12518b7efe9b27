#include "cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/ascii.h"
#include "cli/output.h"

namespace r1 {
namespace {

constexpr int kBarCells = 16;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

TerminalStyle stderr_style() {
  const bool terminal = stderr_is_terminal();
  std::string locale;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (locale.empty() && value != nullptr) locale = value;
  }
  std::ranges::transform(locale, locale.begin(), to_lower);
  const bool utf8 = locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  return {.terminal = terminal, .utf8 = utf8};
}

std::string bar(double share, int cells, bool utf8) {
  share = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  const int per_cell = utf8 ? 8 : 1;
  const int parts = static_cast<int>(std::lround(share * cells * per_cell));
  const int full = parts / per_cell;
  // U+2588 is a full cell; U+2589 to U+258F are 7/8 to 1/8 of one.
  std::string out;
  for (int i = 0; i < full; ++i) out += utf8 ? "\u2588" : "#";
  int used = full;
  if (const int rest = parts % per_cell; rest > 0) {
    out += "\xE2\x96";
    out += static_cast<char>(0x90 - rest);
    ++used;
  }
  return out + std::string(static_cast<size_t>(cells - used), ' ');
}

std::string short_time(double seconds) {
  const int64_t s =
      std::isfinite(seconds) ? static_cast<int64_t>(std::lround(std::clamp(seconds, 0.0, 1e9))) : 0;
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
}

std::string short_count(double count) {
  if (count < 1e3) return fmt::format("{:.0f}", count);
  if (count < 1e6) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.1f}M", count / 1e6);
}

TerminalReporter::TerminalReporter(Sink sink, Clock clock, TerminalStyle style)
    : sink_(std::move(sink)), clock_(std::move(clock)), style_(style), last_time_(clock_()) {}

TerminalReporter TerminalReporter::on_stderr() {
  return TerminalReporter([](std::string_view text) { write_stderr(text); }, seconds_now, stderr_style());
}

TerminalReporter::~TerminalReporter() {
  end_line();
}

void TerminalReporter::end_line() {
  if (open_line_ > 0) sink_("\n");
  open_line_ = 0;
}

void TerminalReporter::note(const std::string& line) {
  end_line();
  sink_(line + "\n");
}

// Updates the smoothed seconds per step. Recent steps count more, because answers get longer as training goes
// on.
void TerminalReporter::pace(int64_t step) {
  constexpr double kNew = 0.1;
  const double now = clock_();
  if (step <= last_step_) {  // a recipe's next stage has begun
    last_step_ = -1;
    step_seconds_ = 0;
    thinking_scale_ = 0;
  }
  // The first step's time includes the set-up; after a resume, the number of steps that it covers is unknown.
  if (last_step_ >= 0) {
    const double each = (now - last_time_) / static_cast<double>(step - last_step_);
    step_seconds_ = step_seconds_ == 0 ? each : (1 - kNew) * step_seconds_ + kNew * each;
  }
  last_step_ = step;
  last_time_ = now;
}

std::string TerminalReporter::eta(int64_t step, int64_t steps) const {
  if (step_seconds_ == 0 || step >= steps) return "";
  return "  ETA " + short_time(step_seconds_ * static_cast<double>(steps - step));
}

void TerminalReporter::step(const Json& metrics, int64_t steps) {
  const int64_t step = metrics.get_int("step");
  const bool first = last_step_ < 0 || step <= last_step_;
  pace(step);
  const int width = static_cast<int>(std::to_string(steps).size());
  std::string line = fmt::format("step {:>{}}/{}", step, width, steps);
  if (metrics.contains("accuracy")) {
    const double accuracy = metrics.get_number_or("accuracy", 0);
    const double thinking = metrics.get_number_or("thinking_correct", 0);
    // One scale serves the whole run, so that bars can be compared. It leaves room for thoughts to grow
    // fourfold.
    if (thinking_scale_ == 0 && thinking > 0) thinking_scale_ = std::max(32.0, 4 * thinking);
    const double seconds = metrics.get_number_or("step_s", step_seconds_);
    line += fmt::format("  accuracy {} {:.2f}", bar(accuracy, kBarCells, style_.utf8), accuracy);
    line += fmt::format("  thinking {} {:>4.0f} tok",
                        bar(thinking_scale_ > 0 ? thinking / thinking_scale_ : 0, kBarCells, style_.utf8),
                        thinking);
    line += fmt::format("  {:.1f} s/step{}", seconds, eta(step, steps));
    end_line();
    sink_(line + "\n");
    return;
  }
  line += fmt::format("  loss {:.3f}  lr {:.2e}", metrics.get_number_or("loss", 0),
                      metrics.get_number_or("lr", 0));
  if (const double speed = metrics.get_number_or("tokens_per_s", 0); speed > 0) {
    line += fmt::format("  {} tok/s", short_count(speed));
  }
  line += eta(step, steps);
  if (style_.terminal) {
    const size_t cells = line.size();
    if (open_line_ > cells) line.append(open_line_ - cells, ' ');  // erases the rest of a longer line
    sink_("\r" + line);
    open_line_ = cells;
    if (step == steps) end_line();
  } else if (first || step % kQuietSteps == 0 || step == steps) {
    sink_(line + "\n");
  }
}

Counter::Counter(std::string what, int64_t total)
    : what_(std::move(what)), total_(total), terminal_(stderr_is_terminal()) {}

void Counter::add(int64_t n) {
  done_ += n;
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  shown_ = true;
  write_stderr(fmt::format("\r{}/{} {}", done_, total_, what_));
}

void Counter::clear() {
  if (shown_) write_stderr("\r\x1b[K");
  shown_ = false;
}

}  // namespace r1
