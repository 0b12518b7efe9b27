// reward/program/program_worker.h: one process of a pool and what it has been asked. Nothing here blocks.
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

  // The rows that it has and has not answered, by the caller's numbers.
  struct Asked {
    size_t row;
    std::string id;
  };
  std::vector<Asked> asked;
  bool alone = false;  // the one row that it has failed once and is tried again

  bool running() const { return child_.has_value(); }
  bool fresh() const { return running() && !used_; }  // it has been asked nothing yet
  void start();                                       // in place of the process that is there. Throws Error
  void send(size_t row, const std::string& id, std::string_view line);
  bool timed_out(Clock::time_point now) const { return !asked.empty() && now >= deadline_; }
  Clock::time_point deadline() const { return deadline_; }

  int input() const { return child_->input(); }
  int output() const { return child_->output(); }
  int errors() const { return child_->errors(); }
  bool has_to_write() const { return !to_write_.empty(); }
  void write_some();
  void read_errors();
  // Reads what is there; false at the end of the process's output.
  bool read_some();
  // The next whole line; nothing if there is none yet. `too_long` is set for a line beyond kMaxAnswerLine.
  std::optional<std::string> line(bool& too_long);

  // Takes the row of `id` from `asked`, and gives the others their time anew. Nothing if it does not have that row.
  std::optional<size_t> answered(const std::string& id);
  bool has_answered(const std::string& id) const { return done_.contains(id); }
  bool has_answered_any() const { return !done_.empty(); }

  // Kills it. Returns a clause: how it ended if it did so by itself, else `otherwise`; with the end of what it wrote on
  // standard error.
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
