// data/task_file.cc: problems from files.
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "data/task.h"
#include "formats/json.h"

namespace r1 {
namespace {

Problem read_row(const Json& row, int phrasing) {
  const Json* gold = row.find("gold");
  if (gold == nullptr) gold = row.find("answer");
  const bool inline_numbers = row.contains("numbers") || row.contains("nums");
  const Json* question = row.find("question");
  if (inline_numbers || (gold != nullptr && gold->is_object())) {
    const CountdownProblem countdown = countdown_of(inline_numbers ? row : *gold);
    Problem problem = countdown_task(countdown, phrasing);
    if (question != nullptr) problem.question = question->string();
    return problem;
  }
  if (gold == nullptr) row.fail("needs gold, answer, or numbers and target");
  Problem problem{.task = "expression", .question = row.get_string("question"), .gold = "", .key = {}};
  if (!gold->is_string() && !gold->is_integer())
    gold->fail("is neither a string, an integer nor a countdown object");
  problem.gold = Json(gold->is_string() ? gold->string() : std::to_string(gold->integer())).dump();
  return problem;
}

std::vector<Problem> read_jsonl(const std::filesystem::path& path) {
  std::vector<Problem> problems;
  int line_number = 0;
  for (const std::string& line : read_lines(path)) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json row = parse_json(line, fmt::format("{}:{}", path.string(), line_number));
    problems.push_back(read_row(row, static_cast<int>(problems.size() % kPhrasings)));
  }
  return problems;
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
          fmt::format("{}: Puzzles is \"{}\": numbers with one space between are wanted", where, cell));
    puzzle.numbers.push_back(std::stoi(std::string(word)));
  }
  if (puzzle.numbers.size() < 2 || puzzle.numbers.size() > kMaxCountdownNumbers) {
    throw Error(fmt::format("{}: Puzzles has {} numbers, 2 to {} are wanted", where, puzzle.numbers.size(),
                            kMaxCountdownNumbers));
  }
  return puzzle;
}

std::vector<Problem> read_csv(const std::filesystem::path& path) {
  std::vector<Problem> problems;
  size_t column = 0, columns = 0;
  int line_number = 0;
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
    if (fields.size() != columns) {
      throw Error(fmt::format("{}: {} fields, the header has {}", where, fields.size(), columns));
    }
    problems.push_back(
        countdown_task(read_puzzle(fields[column], where), static_cast<int>(problems.size() % kPhrasings)));
  }
  return problems;
}

}  // namespace

std::vector<Problem> read_problems(const std::filesystem::path& path) {
  if (path.extension() == ".jsonl") return read_jsonl(path);
  if (path.extension() == ".csv") return read_csv(path);
  throw Error(fmt::format("{}: problems are read from .jsonl and .csv files", path.string()));
}

}  // namespace r1
