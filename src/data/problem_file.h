// data/problem_file.h: reads problems from files.
//
//   .csv                    a header with a column Puzzles ("1 1 4 6"): the Game of 24, so the target is 24; other
//                           columns are ignored
//   .jsonl, .json, .gz ...  rows as data/record.h recognises them. The row's task (default: the options' task)
//                           determines the verifier and the form of the gold (Problem::gold). A countdown row
//                           without a question is asked in phrasing (row modulo kPhrasings).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/record.h"
#include "data/task.h"

namespace r1 {

// Throws Error for a problem that cannot be used, for example because its verifier cannot read its gold.
// `gold` is problem.gold as the row has it, so that its errors name the row's field.
using ProblemCheck = std::function<void(const Problem& problem, const Json& gold)>;

struct ProblemRowOptions {
  RecordMapping mapping;
  std::string task = "math";  // the task of rows that name none and are no countdown
  ProblemCheck check;         // empty: every problem is accepted
  GoldIs gold = GoldIs::required;
};

struct RefusedRow {
  int64_t line = 0;   // from 1
  std::string error;  // "FILE:LINE: reason"
};

struct ProblemFile {
  std::vector<Problem> problems;           // in the file's order
  std::vector<int64_t> lines;              // the line of each problem
  int64_t rows = 0;                        // number of rows in the file, read or refused
  std::vector<RefusedRow> refused;         // rows that cannot be read or fail the check
  std::map<std::string, int64_t> formats;  // Record::format -> number of rows
};

// Throws Error if the file cannot be read, and for a CSV without the column. The result may have no problems.
ProblemFile read_problem_rows(const std::filesystem::path& path, const ProblemRowOptions& options);

// Does the same, and throws Error if no row gives a problem; the error is that of the first refused row.
ProblemFile read_some_problems(const std::filesystem::path& path, const ProblemRowOptions& options);

// Calls action() and returns the text of its Error as "WHERE: reason"; `where` is not repeated if the text
// begins with it. Returns "" if there is no error.
std::string error_in_row(const std::string& where, const std::function<void()>& action);

// Moves problems that fail the check to `refused`; their errors name `path` and the line. Throws Error, with
// the first one's reason, if no problem is left.
void refuse_problems(ProblemFile& file, const std::filesystem::path& path,
                     const std::function<void(const Problem&)>& check);

// Returns "" if no row was refused, else one line with the number of refused rows and the first one's reason.
std::string refusal_notice(const ProblemFile& file);

}  // namespace r1
