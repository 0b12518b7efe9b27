#include "reward/problem_file.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "formats/jsonl.h"
#include "reward/verifier.h"

namespace r1 {
namespace {

// The first of these names that the row has; nullptr if it has none.
const Json* first_of(const Json& row, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (const Json* value = row.find(name)) return value;
  }
  return nullptr;
}

// The row says its task's name, or it is a countdown by its shape, or its gold is looked for in free text.
std::string task_of(const Json& row, const Json* gold) {
  if (const Json* task = row.find("task")) return task->string();
  const auto is_countdown = [](const Json& json) {
    return json.contains("numbers") || json.contains("nums");
  };
  if (is_countdown(row)) return "countdown";
  if (gold == nullptr) row.fail("needs gold, answer, or numbers and target");
  if (gold->is_object() && !is_countdown(*gold))
    gold->fail("is no countdown object, and the row names no task");
  return gold->is_object() ? "countdown" : "math";
}

Problem read_row(const Json& row, int phrasing) {
  const Json* gold = first_of(row, {"gold", "answer"});
  const Json* question = first_of(row, {"question", "prompt", "problem"});
  const std::string task = task_of(row, gold);
  Problem problem;
  if (verifier_name(task) == "countdown") {
    const bool in_row = row.contains("numbers") || row.contains("nums") || gold == nullptr;
    problem = countdown_task(countdown_of(in_row ? row : *gold), phrasing);
    if (question != nullptr) problem.question = question->string();
  } else {
    if (question == nullptr) row.fail("needs question, prompt or problem");
    if (gold == nullptr) row.fail("needs gold or answer");
    problem.question = question->string();
    problem.gold = gold->is_number() ? Json(gold->literal()).dump() : gold->dump();
    (void)Verifier(task, *gold);  // throws for a gold that is not of its task's shape
  }
  problem.task = task;
  return problem;
}

ProblemFile read_jsonl_problems(const std::filesystem::path& path) {
  ProblemFile file;
  JsonlReader reader(path);
  for (JsonlRow row; reader.next(row);) {
    std::string what = row.error;
    if (what.empty()) {
      try {
        file.problems.push_back(read_row(row.value, static_cast<int>(row.row % kPhrasings)));
        continue;
      } catch (const Error& e) {
        what = e.what();
      }
    }
    const std::string where = fmt::format("{}:{}: ", path.string(), row.line);
    // A field's own error says where it stands.
    file.refused.push_back({row.line, what.starts_with(where) ? what : where + what});
  }
  return file;
}

// Plain commas: no field of these files is quoted.
std::vector<std::string_view> split_fields(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0;;) {
    const size_t end = line.find(separator, begin);
    fields.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos) return fields;
    begin = end + 1;
  }
}

CountdownProblem read_puzzle(std::string_view cell, const std::string& where) {
  CountdownProblem puzzle{.numbers = {}, .target = 24};
  for (const std::string_view word : split_fields(cell, ' ')) {
    const bool good =
        !word.empty() && word.size() <= 4 && word.find_first_not_of("0123456789") == std::string::npos;
    if (!good)
      throw Error(
          fmt::format("{}: Puzzles is \"{}\"; it must be numbers with one space between them", where, cell));
    puzzle.numbers.push_back(std::stoi(std::string(word)));
  }
  if (puzzle.numbers.size() < 2 || puzzle.numbers.size() > kMaxCountdownNumbers) {
    throw Error(fmt::format("{}: Puzzles has {} numbers; it must have between 2 and {}", where, puzzle.numbers.size(),
                            kMaxCountdownNumbers));
  }
  return puzzle;
}

ProblemFile read_csv(const std::filesystem::path& path) {
  ProblemFile file;
  size_t column = 0, columns = 0;
  int64_t line_number = 0, rows = 0;
  for (std::string line : read_lines(path)) {
    const std::string where = fmt::format("{}:{}", path.string(), ++line_number);
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const std::vector<std::string_view> fields = split_fields(line, ',');
    if (columns == 0) {
      columns = fields.size();
      while (column < columns && fields[column] != "Puzzles") ++column;
      if (column == columns) throw Error(where + ": no column Puzzles: this is not a Game of 24 file");
      continue;
    }
    const int phrasing = static_cast<int>(rows++ % kPhrasings);
    try {
      if (fields.size() != columns)
        throw Error(fmt::format("{}: {} fields, the header has {}", where, fields.size(), columns));
      file.problems.push_back(countdown_task(read_puzzle(fields[column], where), phrasing));
    } catch (const Error& e) {
      file.refused.push_back({line_number, e.what()});
    }
  }
  return file;
}

}  // namespace

ProblemFile read_problems(const std::filesystem::path& path) {
  const bool csv = path.extension() == ".csv";
  if (!csv && path.extension() != ".jsonl")
    throw Error(fmt::format("{}: problems are read from .jsonl and .csv files", path.string()));
  ProblemFile file = csv ? read_csv(path) : read_jsonl_problems(path);
  if (!file.problems.empty()) return file;
  if (file.refused.empty()) throw Error(path.string() + ": has no problems");
  if (file.refused.size() == 1) throw Error(file.refused.front().error);
  throw Error(fmt::format("{} (and none of the other {} rows can be read)", file.refused.front().error,
                          file.refused.size() - 1));
}

std::string refusal_notice(const ProblemFile& file) {
  if (file.refused.empty()) return "";
  const size_t rows = file.problems.size() + file.refused.size();
  return fmt::format("{} of {} rows cannot be read and are left out; the first: {}", file.refused.size(),
                     rows, file.refused.front().error);
}

}  // namespace r1
