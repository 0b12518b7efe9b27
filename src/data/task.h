// data/task.h: what every task gives the rest of the program: questions with an answer that can be checked.
//
// Tasks: "countdown" (three or four numbers), "countdown3", "countdown4": generated; problems of "countdown"
// and of "expression" (reach a given value by any expression) are also read from files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/countdown.h"
#include "data/split.h"

namespace r1 {

class Json;

struct Problem {
  std::string task;      // names the verifier
  std::string question;  // the user's turn, without any prompt around it
  std::string gold;  // JSON, by task. countdown*: {"numbers":[3,5,7],"target":24}; expression: "24" or "7/2"
  std::vector<int> key;  // what contamination checks compare. countdown*: the numbers, ascending
  bool operator==(const Problem&) const = default;
};

// The tasks that make_problem knows.
const std::vector<std::string>& task_names();

// Throws Error with the nearest known name where `name` is no task.
void check_task(std::string_view name);

// A pure function of its arguments: problem `index` of the endless list (name, seed, split). Throws as
// check_task.
Problem make_problem(std::string_view name, uint64_t seed, uint64_t index, Split split);

// A countdown problem as a Problem, asked in phrasing 0 .. kPhrasings-1, and back from its gold. The
// latter two throw Error where the gold is not of that shape.
Problem countdown_task(const CountdownProblem& problem, int phrasing);
CountdownProblem countdown_of(const Problem& problem);
CountdownProblem countdown_of(const Json& gold);

// Reads a file of problems, by its extension:
//   .csv    a header with a column Puzzles ("1 1 4 6"): the Game of 24, so the target is 24; other columns
//   are ignored .jsonl  a row {"numbers" (or "nums"): [...], "target": N, "question"?}, or {"question",
//   "gold" or "answer"} with
//           gold as above (a countdown object; else a number or an expression, as a JSON string or integer)
// Questions that a row leaves out are asked in phrasing (row modulo kPhrasings). Throws Error "FILE:LINE:
// reason".
std::vector<Problem> read_problems(const std::filesystem::path& path);

}  // namespace r1
