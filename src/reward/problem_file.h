// reward/problem_file.h: problems from files, each with a gold that its task's verifier can read.
//
//   .csv    a header with a column Puzzles ("1 1 4 6"): the Game of 24, so the target is 24; other columns
//           are ignored
//   .jsonl  a row {"task"?, "question" or "prompt", "gold" or "answer"}; other fields are ignored
//             task   any of data/task.h, a level too ("calendar:2"); it says who checks the answer and what
//                    the gold looks like (Problem::gold). Without it: a countdown object, else a number or an
//                    expression as a JSON string or number (task "expression")
//             a countdown's gold may also stand in the row itself, {"numbers" (or "nums"): [...],
//             "target": N}, and its question may be left out: it is asked in phrasing (row modulo
//             kPhrasings) then
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
  std::vector<RefusedRow> refused;  // rows that are no problem: malformed, or with a gold that cannot be read
};

// A row that cannot be read spoils itself, not the file. Throws Error for a file of another kind, for one
// without rows, and, with the first row's reason, if no row can be read.
ProblemFile read_problems(const std::filesystem::path& path);

// "" if no row was refused, else one line: how many rows, and the first one's reason.
std::string refusal_notice(const ProblemFile& file);

}  // namespace r1
