// reward/problem_file.h: reads problems from files. Each has a gold that its task's verifier can read.
//
//   .csv    a header with a column Puzzles ("1 1 4 6"): the Game of 24, so the target is 24; other columns
//           are ignored
//   .jsonl  a row {"task"?, "question" or "prompt", "gold" or "answer"}; other fields are ignored
//             task   any task of data/task.h, with or without a level ("calendar:2"); it determines the
//                    verifier and the form of the gold (Problem::gold). Without it the gold is a countdown
//                    object, or a number or an expression as a JSON string or number (task "expression").
//           The gold of a countdown may also stand in the row itself:
//             {"numbers" (or "nums"): [...], "target": N}
//           If a countdown row has no question, it is asked in phrasing (row modulo kPhrasings).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/task.h"

namespace r1 {

struct RefusedRow {
  int64_t line = 0;   // from 1
  std::string error;  // "FILE:LINE: reason"
};

struct ProblemFile {
  std::vector<Problem> problems;    // at least one
  std::vector<RefusedRow> refused;  // malformed rows, and rows with a gold that cannot be read
};

// Reads a file; rows that cannot be read are only listed in `refused`. Throws Error for a file of another
// kind, for one without rows, and, with the first row's reason, if no row can be read.
ProblemFile read_problems(const std::filesystem::path& path);

// Returns "" if no row was refused, else one line with the number of refused rows and the first one's reason.
std::string refusal_notice(const ProblemFile& file);

}  // namespace r1
