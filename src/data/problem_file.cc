#include "data/problem_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "formats/jsonl.h"

namespace r1 {
namespace {

ProblemFile read_rows(const std::filesystem::path& path, const ProblemRowOptions& options) {
  ProblemFile file;
  JsonlReader reader(path);
  for (JsonlRow row; reader.next(row);) {
    std::string what = row.error;
    if (what.empty()) {
      what = error_in_row(fmt::format("{}:{}", path.string(), row.line), [&] {
        Record record = read_record(row.value, options.mapping, options.gold);
        if (record.task == "math" && record.format != "task") record.task = options.task;
        Problem problem = problem_of(record, static_cast<int>(row.row % kPhrasings), options.gold);
        if (options.check) options.check(problem, record.gold);
        file.problems.push_back(std::move(problem));
        file.lines.push_back(row.line);
        ++file.formats[record.format];
      });
    }
    if (!what.empty()) file.refused.push_back({row.line, std::move(what)});
  }
  return file;
}

// Splits at every separator, because no field of these files is quoted.
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
    throw Error(fmt::format("{}: Puzzles has {} numbers; it must have between 2 and {}", where,
                            puzzle.numbers.size(), kMaxCountdownNumbers));
  }
  return puzzle;
}

ProblemFile read_csv(const std::filesystem::path& path, const ProblemRowOptions& options) {
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
      Problem problem = countdown_task(read_puzzle(fields[column], where), phrasing);
      if (options.check) options.check(problem, parse_json(problem.gold, where));
      file.problems.push_back(std::move(problem));
      file.lines.push_back(line_number);
      ++file.formats["Game of 24"];
    } catch (const Error& e) {
      file.refused.push_back({line_number, e.what()});
    }
  }
  return file;
}

}  // namespace

ProblemFile read_problem_rows(const std::filesystem::path& path, const ProblemRowOptions& options) {
  ProblemFile file = path.extension() == ".csv" ? read_csv(path, options) : read_rows(path, options);
  file.rows = std::ssize(file.problems) + std::ssize(file.refused);
  return file;
}

ProblemFile read_some_problems(const std::filesystem::path& path, const ProblemRowOptions& options) {
  ProblemFile file = read_problem_rows(path, options);
  if (!file.problems.empty()) return file;
  if (file.refused.empty()) throw Error(path.string() + ": has no problems");
  if (file.refused.size() == 1) throw Error(file.refused.front().error);
  throw Error(fmt::format("{} (and none of the other {} rows can be read)", file.refused.front().error,
                          file.refused.size() - 1));
}

std::string error_in_row(const std::string& where, const std::function<void()>& action) {
  try {
    action();
    return "";
  } catch (const Error& error) {
    const std::string what = error.what();
    return what.starts_with(where + ":") ? what : where + ": " + what;
  }
}

void refuse_problems(ProblemFile& file, const std::filesystem::path& path,
                     const std::function<void(const Problem&)>& check) {
  size_t kept = 0;
  for (size_t i = 0; i < file.problems.size(); ++i) {
    const int64_t line = file.lines[i];
    std::string what =
        error_in_row(fmt::format("{}:{}", path.string(), line), [&] { check(file.problems[i]); });
    if (!what.empty()) {
      file.refused.push_back({line, std::move(what)});
      continue;
    }
    if (kept < i) file.problems[kept] = std::move(file.problems[i]);
    file.lines[kept++] = line;
  }
  file.problems.resize(kept);
  file.lines.resize(kept);
  std::ranges::stable_sort(file.refused, {}, &RefusedRow::line);
  if (kept == 0) throw Error(file.refused.front().error + " (and no other row can be used)");
}

std::string refusal_notice(const ProblemFile& file) {
  if (file.refused.empty()) return "";
  return fmt::format("{} of {} rows cannot be used and are left out; the first: {}", file.refused.size(),
                     file.rows, file.refused.front().error);
}

}  // namespace r1
