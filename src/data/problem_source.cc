#include "data/problem_source.h"

#include <fmt/format.h>

#include <charconv>
#include <mutex>
#include <unordered_set>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"

namespace r1 {
namespace {

constexpr uint64_t kOrderStream = 0x50524F42;  // "PROB"

// Words with one space between them.
std::string spaced_once(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    const bool is_space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!is_space && space && !out.empty()) out += ' ';
    if (!is_space) out += c;
    space = is_space;
  }
  return out;
}

// What a file gave, for its line to the user.
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
  std::string task;  // of generated problems
  uint64_t seed = 0;
  Split split = Split::train;
  std::vector<Problem> problems;  // of files
  bool shuffle = false;
  std::vector<std::string> notes;
  // The order of the epoch that is being read.
  std::mutex mutex;
  int64_t epoch = -1;
  std::vector<uint32_t> order;

  void read_files(const ProblemData& data, const ProblemCheck& check);
};

bool is_held_out_question(std::string_view question, double share) {
  const std::string digest = sha256_hex(spaced_once(question));
  uint32_t head = 0;
  std::from_chars(digest.data(), digest.data() + 8, head, 16);
  return static_cast<double>(head) < share * 0x1p32;
}

void ProblemSource::State::read_files(const ProblemData& data, const ProblemCheck& check) {
  constexpr size_t kHashDigits = 32;
  std::unordered_set<std::string> seen;
  std::string first_refusal;
  const ProblemRowOptions options{.mapping = data.mapping, .task = data.task, .check = check};
  for (const std::string& path : data.files) {
    ProblemFile file = read_problem_rows(path, options);
    Counts counts{.rows = file.problems.size() + file.refused.size(), .refused = file.refused.size()};
    for (Problem& problem : file.problems) {
      if (data.limit > 0 && std::ssize(problems) == data.limit) break;
      if (data.deduplicate) {
        const std::string content = spaced_once(problem.question) + "\n" + problem.gold;
        if (!seen.insert(sha256_hex(content).substr(0, kHashDigits)).second) {
          ++counts.duplicates;
          continue;
        }
      }
      const bool held_out = is_held_out_question(problem.question, data.held_out);
      if (data.side != ProblemData::Side::all && held_out != (data.side == ProblemData::Side::held_out)) {
        ++counts.other_side;
        continue;
      }
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
    data.files.push_back(file.beside(name).string());
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
  const std::string side = file.choice_or("data.split", "all", {"all", "train", "held_out"});
  data.side = side == "all"     ? ProblemData::Side::all
              : side == "train" ? ProblemData::Side::train
                                : ProblemData::Side::held_out;
  data.held_out = file.number_or("data.held_out", data.held_out, 0, 1);
  data.limit = file.integer_or("data.limit", data.limit, 0, int64_t{1} << 31);
  data.shuffle = file.boolean_or("data.shuffle", data.shuffle);
  data.deduplicate = file.boolean_or("data.deduplicate", data.deduplicate);
  if (from_files) return data;
  for (const char* key : {"data.question", "data.answer", "data.split", "data.held_out", "data.limit",
                          "data.shuffle", "data.deduplicate"}) {
    if (file.has(key)) file.fail(key, "is for data.files, which is missing");
  }
  return data;
}

}  // namespace r1
