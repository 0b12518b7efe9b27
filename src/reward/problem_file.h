// reward/problem_file.h: problems from files, each with a gold that its task's verifier can read.
//
//   .csv    a header with a column Puzzles ("1 1 4 6"): the Game of 24, so the target is 24; other columns
//   are ignored .jsonl  a row {"task"?, "question" or "prompt", "gold" or "answer"}; other fields are ignored
//             task   any of data/task.h, a level too ("calendar:2"); it says who checks the answer and what
//             the gold looks
//                    like (Problem::gold). Without it: a countdown object, else a number or an expression as
//                    a JSON string or integer (task "expression")
//             a countdown's gold may also stand in the row itself, {"numbers" (or "nums"): [...], "target":
//             N}, and its question may be left out: it is asked in phrasing (row modulo kPhrasings) then
#pragma once

#include <filesystem>
#include <vector>

#include "data/task.h"

namespace r1 {

// At least one. Throws Error "FILE:LINE: reason"; for a file without problems; for one of another kind.
std::vector<Problem> read_problems(const std::filesystem::path& path);

}  // namespace r1
