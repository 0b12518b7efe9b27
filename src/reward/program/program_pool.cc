#include "reward/program/program_pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "base/error.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "reward/program/program_worker.h"

namespace r1 {
namespace {

using Clock = ProgramWorker::Clock;
constexpr int kEndsByItself_ms = 200;  // the time that a process has to exit after it has closed its output

// Blocks SIGPIPE, so that a write to a process that has ended returns an error in any caller.
class PipeSignalHeld {
 public:
  PipeSignalHeld() {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~PipeSignalHeld() {
    const timespec now{};
    if (::sigismember(&before_, SIGPIPE) == 0) {
      while (::sigtimedwait(&pipe_, nullptr, &now) > 0) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  PipeSignalHeld(const PipeSignalHeld&) = delete;
  PipeSignalHeld& operator=(const PipeSignalHeld&) = delete;

 private:
  sigset_t pipe_, before_;
};

}  // namespace

struct ProgramPool::Impl {
  explicit Impl(const ProgramConfig& c) : config(c) {
    for (int64_t i = 0; i < config.workers; ++i) workers.emplace_back(config, guard);
  }

  ProgramConfig config;
  ProcessGuard guard;
  std::deque<ProgramWorker> workers;  // they refer to config and guard
  bool ever_answered = false;
  int64_t restarts = 0, twice = 0;
  std::string last_restart, last_twice, last_failure;

  // State of the current call of ask().
  std::span<const RowToScore> rows;
  std::vector<ScoreAnswer> answers;
  std::vector<bool> done;
  int64_t left = 0, failed = 0;
  std::deque<size_t> waiting, to_retry;

  void settle(size_t row, ScoreAnswer answer) {
    if (answer.status == SampleStatus::verifier_failed) {
      last_failure = answer.why;
      answer.why = fmt::format("{}: {}", config.name, answer.why);
      ++failed;
    }
    answers[row] = std::move(answer);
    done[row] = true;
    --left;
  }
  void fail(size_t row, std::string why) { settle(row, {.why = std::move(why)}); }

  // Stops a process that has failed. Its rows are queued to be tried again, or fail if they were tried alone.
  void give_up(ProgramWorker& worker, std::string_view reason, int wait_ms = 0) {
    const std::vector<ProgramWorker::Asked> asked = worker.asked;
    const bool alone = worker.alone;
    const std::string why = worker.stop(reason, wait_ms);
    if (asked.empty()) return;
    ++restarts;
    last_restart = why;
    for (const auto& [row, id] : asked) {
      if (alone) {
        fail(row, why);
      } else {
        to_retry.push_back(row);
      }
    }
  }

  void send(ProgramWorker& worker, std::deque<size_t>& from) {
    const size_t row = from.front();
    from.pop_front();
    worker.send(row, rows[row].id, rows[row].json);
  }

  bool start(ProgramWorker& worker) {
    try {
      worker.start();
      return true;
    } catch (const Error& e) {
      std::deque<size_t>& from = to_retry.empty() ? waiting : to_retry;
      fail(from.front(), e.what());
      from.pop_front();
      return false;
    }
  }

  void feed(ProgramWorker& worker) {
    if (worker.alone) return;
    if (!to_retry.empty()) {
      if (!worker.asked.empty()) return;  // it still has rows to answer
      if (!worker.fresh() && !start(worker)) return;
      worker.alone = true;
      send(worker, to_retry);
      return;
    }
    while (!waiting.empty() && std::ssize(worker.asked) < config.in_flight) {
      if (!worker.running() && !start(worker)) return;
      send(worker, waiting);
    }
  }

  void read_line(ProgramWorker& worker, const std::string& line) {
    Json answer;
    std::string id;
    try {
      answer = parse_json(line, "");
      id = answer.is_object() && answer.contains("id") ? answer.get_string("id") : "";
    } catch (const Error&) {
    }
    if (id.empty()) {
      give_up(
          worker,
          fmt::format("it printed a line that is no answer: {} (an answer is a JSON object with the id of "
                      "its row; anything else belongs on standard error)",
                      shown(line)));
      return;
    }
    if (const auto row = worker.answered(id)) {
      worker.alone = false;
      ScoreAnswer score = read_score(answer);
      ever_answered = ever_answered || score.status != SampleStatus::verifier_failed;
      settle(*row, std::move(score));
    } else if (worker.has_answered(id)) {
      ++twice;
      last_twice = id;
    } else {
      give_up(worker, fmt::format("it answered {}, which it was not asked", shown(id)));
    }
  }

  void read(ProgramWorker& worker) {
    const bool more = worker.read_some();
    bool too_long = false;
    while (const auto line = worker.line(too_long)) {
      if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
      read_line(worker, *line);
      if (!worker.running()) return;
    }
    if (too_long) {
      give_up(worker, fmt::format("it printed a line of more than {} bytes", kMaxAnswerLine));
    } else if (!more) {
      give_up(worker, "it closed its output", kEndsByItself_ms);
    }
  }

  // Waits at most a tenth of a second for the processes' pipes, then reads and writes.
  void wait() {
    std::vector<pollfd> fds;
    std::vector<size_t> owner;
    auto until = Clock::now() + std::chrono::milliseconds(100);
    for (size_t i = 0; i < workers.size(); ++i) {
      ProgramWorker& worker = workers[i];
      if (!worker.running()) continue;
      if (!worker.asked.empty()) until = std::min(until, worker.deadline());
      fds.push_back({worker.output(), POLLIN, 0});
      fds.push_back({worker.errors(), POLLIN, 0});
      fds.push_back({worker.has_to_write() ? worker.input() : -1, POLLOUT, 0});
      owner.push_back(i);
    }
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(ms, 0)));
    for (size_t k = 0; k < owner.size(); ++k) {
      ProgramWorker& worker = workers[owner[k]];
      if (fds[3 * k + 2].revents != 0) worker.write_some();
      if (fds[3 * k + 1].revents != 0) worker.read_errors();
      if (fds[3 * k].revents != 0) read(worker);
      if (worker.running() && worker.timed_out(Clock::now()))
        give_up(worker,
                fmt::format("it gave no answer within {} s{}", config.timeout_s,
                            worker.has_answered_any() ? "" : " (it must flush its output after each line)"));
    }
  }

  void run(const std::function<void()>& tick) {
    while (left > 0) {
      if (!ever_answered && failed >= kHopeless) {
        const std::string why =
            fmt::format("it answered none of the first {} rows: {}", failed, last_failure);
        for (size_t row = 0; row < rows.size(); ++row) {
          if (!done[row]) fail(row, why);
        }
        for (ProgramWorker& worker : workers) worker.stop("", 0);
        return;
      }
      for (ProgramWorker& worker : workers) feed(worker);
      if (left == 0) return;
      wait();
      if (tick) tick();
    }
  }
};

ProgramPool::ProgramPool(const ProgramConfig& config) : impl_(std::make_unique<Impl>(config)) {}
ProgramPool::~ProgramPool() = default;

std::vector<ScoreAnswer> ProgramPool::ask(std::span<const RowToScore> rows,
                                          const std::function<void()>& tick) {
  Impl& pool = *impl_;
  const PipeSignalHeld held;
  pool.rows = rows;
  pool.answers.assign(rows.size(), {});
  pool.done.assign(rows.size(), false);
  pool.left = std::ssize(rows);
  pool.failed = 0;
  pool.to_retry.clear();
  pool.waiting.clear();
  for (size_t i = 0; i < rows.size(); ++i) pool.waiting.push_back(i);
  for (ProgramWorker& worker : pool.workers) {
    // A process that has answered an id in an earlier call could send a second answer to it now.
    if (std::ranges::any_of(rows, [&](const RowToScore& row) { return worker.has_answered(row.id); }))
      worker.stop("", 0);
  }
  try {
    pool.run(tick);
  } catch (...) {
    for (ProgramWorker& worker : pool.workers) worker.stop("", 0);  // a later call must not get its answers
    throw;
  }
  return std::move(pool.answers);
}

std::vector<std::string> ProgramPool::take_notes() {
  Impl& pool = *impl_;
  std::vector<std::string> notes;
  if (pool.restarts > 0)
    notes.push_back(fmt::format("reward program {}: {} restart{}; the last because {}", pool.config.name,
                                pool.restarts, pool.restarts == 1 ? "" : "s", pool.last_restart));
  if (pool.twice > 0)
    notes.push_back(repeated_answers("reward program " + pool.config.name, pool.twice, pool.last_twice));
  pool.restarts = pool.twice = 0;
  return notes;
}

}  // namespace r1
