// reward/program/program_worker.h: one process of a pool and its open rows. Nothing here blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "reward/program/child_process.h"
#include "reward/reward_config.h"

namespace r1 {

class ProgramWorker {
 public:
  using Clock = std::chrono::steady_clock;
  ProgramWorker(const ProgramConfig& config, ProcessGuard& guard) : config_(config), guard_(guard) {}

  // Rows that the process has not answered yet, by the caller's numbers.
  struct Asked {
    size_t row;
    std::string id;
  };
  std::vector<Asked> asked;
  bool alone = false;  // its only row has failed once and is tried again

  bool running() const { return child_.has_value(); }
  bool fresh() const { return running() && !used_; }  // it has had no row yet
  void start();                                       // replaces a running process. Throws Error
  void send(size_t row, const std::string& id, std::string_view line);
  bool timed_out(Clock::time_point now) const { return !asked.empty() && now >= deadline_; }
  Clock::time_point deadline() const { return deadline_; }

  int input() const { return child_->input(); }
  int output() const { return child_->output(); }
  int errors() const { return child_->errors(); }
  bool has_to_write() const { return !to_write_.empty(); }
  void write_some();
  void read_errors();
  // Reads the output that is available. Returns false at its end.
  bool read_some();
  // Returns the next whole line, or nothing if there is none yet. Sets `too_long` if the line exceeds
  // kMaxAnswerLine.
  std::optional<std::string> line(bool& too_long);

  // Removes the row of `id` from `asked`, returns it and restarts the clock for the other rows. Returns
  // nothing if `asked` does not have it.
  std::optional<size_t> answered(const std::string& id);
  bool has_answered(const std::string& id) const { return done_.contains(id); }
  bool has_answered_any() const { return !done_.empty(); }

  // Kills the process. Returns a clause that says how it ended by itself, or else `otherwise`, followed by
  // the end of its standard error.
  std::string stop(std::string_view otherwise, int wait_ms);

 private:
  void restart_clock();
  const ProgramConfig& config_;
  ProcessGuard& guard_;
  std::optional<ChildProcess> child_;
  bool used_ = false;
  std::string to_write_, read_, last_words_;
  std::set<std::string> done_;  // ids that this process has answered
  Clock::time_point deadline_;
};

}  // namespace r1
