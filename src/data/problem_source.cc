#include "data/problem_source.h"

#include <fmt/format.h>

#include <mutex>

#include "base/error.h"
#include "base/random.h"

namespace r1 {
namespace {

constexpr uint64_t kOrderStream = 0x50524F42;  // "PROB"

// Counts of a file's rows, for its line to the user.
struct Counts {
  size_t rows = 0, refused = 0, duplicates = 0, other_side = 0, used = 0;
};

std::string note_of(const std::string& path, const ProblemFile& file, const Counts& c) {
  std::string formats;
  for (const auto& [format, rows] : file.formats) formats += (formats.empty() ? "" : ", ") + format;
  std::string line = fmt::format("{}: {} of {} rows are used", path, c.used, c.rows);
  if (!formats.empty()) line += fmt::format(" ({})", formats);
  if (c.duplicates > 0) line += fmt::format("; {} repeat an earlier row", c.duplicates);
  if (c.other_side > 0) line += fmt::format("; {} are on the other side of data.split", c.other_side);
  return line;
}

}  // namespace

struct ProblemSource::State {
  std::string task;  // the task of generated problems; empty with files
  uint64_t seed = 0;
  Split split = Split::train;
  std::vector<Problem> problems;  // the problems of the files
  bool shuffle = false;
  std::vector<std::string> notes;
  // The order of the epoch that was read last.
  std::mutex mutex;
  int64_t epoch = -1;
  std::vector<uint32_t> order;

  void read_files(const ProblemData& data, const ProblemCheck& check);
};

void ProblemSource::State::read_files(const ProblemData& data, const ProblemCheck& check) {
  RowChooser chooser({.side = data.side, .held_out = data.held_out, .deduplicate = data.deduplicate});
  std::string first_refusal;
  const ProblemRowOptions options{
      .mapping = data.mapping, .task = data.task, .check = check, .gold = data.gold};
  for (const std::string& path : data.files) {
    ProblemFile file = read_problem_rows(path, options);
    Counts counts{.rows = file.problems.size() + file.refused.size(), .refused = file.refused.size()};
    for (Problem& problem : file.problems) {
      if (data.limit > 0 && std::ssize(problems) == data.limit) break;
      const RowChooser::Choice choice =
          chooser.choose(problem.question, problem.question + "\n" + problem.gold);
      counts.duplicates += choice == RowChooser::Choice::duplicate ? 1 : 0;
      counts.other_side += choice == RowChooser::Choice::other_side ? 1 : 0;
      if (choice != RowChooser::Choice::use) continue;
      ++counts.used;
      problems.push_back(std::move(problem));
    }
    notes.push_back(note_of(path, file, counts));
    if (!file.refused.empty()) notes.push_back(refusal_notice(file));
    if (first_refusal.empty() && !file.refused.empty()) first_refusal = file.refused.front().error;
  }
  if (!problems.empty()) return;
  throw Error(first_refusal.empty()
                  ? fmt::format("{}: has no problem on this side of data.split", data.files.front())
                  : "no row can be used; the first: " + first_refusal);
}

ProblemSource ProblemSource::of_task(const std::string& task, uint64_t seed, Split split) {
  check_task(task, split);
  auto state = std::make_shared<State>();
  state->task = task;
  state->seed = seed;
  state->split = split;
  return ProblemSource(std::move(state));
}

ProblemSource ProblemSource::open(const ProblemData& data, uint64_t seed, const ProblemCheck& check) {
  if (data.files.empty()) return of_task(data.task, seed, Split::train);
  auto state = std::make_shared<State>();
  state->seed = seed;
  state->shuffle = data.shuffle;
  state->read_files(data, check);
  return ProblemSource(std::move(state));
}

Problem ProblemSource::at(int64_t index) const {
  State& s = *state_;
  R1_CHECK(index >= 0, "problem ", index);
  if (s.problems.empty()) return make_problem(s.task, s.seed, static_cast<uint64_t>(index), s.split);
  const int64_t count = std::ssize(s.problems), epoch = index / count;
  auto place = static_cast<size_t>(index % count);
  if (s.shuffle) {
    const std::lock_guard lock(s.mutex);
    if (s.epoch != epoch) {
      s.order.resize(s.problems.size());
      for (size_t i = 0; i < s.order.size(); ++i) s.order[i] = static_cast<uint32_t>(i);
      Random(s.seed, kOrderStream, static_cast<uint32_t>(epoch)).shuffle(s.order);
      s.epoch = epoch;
    }
    place = s.order[place];
  }
  return s.problems[place];
}

int64_t ProblemSource::size() const {
  return std::ssize(state_->problems);
}

const std::vector<std::string>& ProblemSource::notes() const {
  return state_->notes;
}

ProblemData read_problem_data(ConfigFile& file) {
  ProblemData data;
  for (const std::string& name : file.texts_or("data.files", {}))
    data.files.push_back(file.beside(name, "data.files").string());
  const bool from_files = !data.files.empty();
  data.task = file.text_or("data.task", from_files ? "math" : data.task);
  try {
    if (from_files) {
      verifier_name(data.task);
    } else {
      check_task(data.task, Split::train);
    }
  } catch (const Error& e) {
    file.fail("data.task", e.what());
  }
  data.question = file.text_or("data.question", "");
  data.answer = file.text_or("data.answer", "");
  data.mapping = RecordMapping(data.question, data.answer, file.source());
  const RowSelection rows = read_row_selection(file);
  data.side = rows.side;
  data.held_out = rows.held_out;
  data.limit = rows.limit;
  data.deduplicate = rows.deduplicate;
  data.shuffle = file.boolean_or("data.shuffle", data.shuffle);
  if (from_files) return data;
  for (const char* key : {"data.question", "data.answer", "data.split", "data.held_out", "data.limit",
                          "data.shuffle", "data.deduplicate"}) {
    if (file.has(key)) file.fail(key, "is for data.files, which is missing");
  }
  return data;
}

}  // namespace r1
