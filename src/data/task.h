// data/task.h: what every task gives the rest of the program: questions with an answer that can be checked.
//
// The tasks are the rows of one table (task.cc): a name, who makes its problems, who verifies its answers.
// Most come in levels: "arithmetic:1" (easy) to "arithmetic:3"; "arithmetic" draws the level too. Problems of
// any task, and of "expression" (reach a given value by any expression), are also read from files
// (reward/problem_file.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/countdown.h"
#include "data/split.h"

namespace r1 {

class Json;

struct Problem {
  std::string task;      // its name, with the level where one was asked for
  std::string question;  // the user's turn, without any prompt around it
  // JSON, by verifier (reward/verifier.h). countdown: {"numbers":[3,5,7],"target":24}; expression, number:
  // "24" or "7/2"; equation: {"unknown":"x","value":"7/2"}; digits: {"base":16,"digits":"ff"}; calendar:
  // {"weekday":"Friday"}, {"days":59} or {"date":"2024-03-01"}; roles: {"Ann":"knight","Bob":"knave"}
  std::string gold;
  // The content, what contamination checks compare: the split is a hash of it (split.h). countdown*:
  // "countdown 3 5 7", the numbers ascending. Empty where it is not known: a question from a file.
  std::string key;
  bool operator==(const Problem&) const = default;
};

// The tasks that make_problem knows, without levels.
const std::vector<std::string>& task_names();

// Whether the task comes in levels. Throws as verifier_name.
bool has_levels(std::string_view name);

// Names the verifier of a task (with or without a level; "expression" too). Throws Error with the nearest
// known name where `name` is no task or has no such level.
std::string_view verifier_name(std::string_view name);

// Throws as verifier_name, and where the task has no generated problems on this side of the split.
void check_task(std::string_view name, Split split);

// A pure function of its arguments: problem `index` of the endless list (name, seed, split). Throws as
// check_task.
Problem make_problem(std::string_view name, uint64_t seed, uint64_t index, Split split);

// A countdown problem as a Problem, asked in phrasing 0 .. kPhrasings-1, and back from its gold. The latter
// two throw Error where the gold is not of that shape.
Problem countdown_task(const CountdownProblem& problem, int phrasing);
CountdownProblem countdown_of(const Problem& problem);
CountdownProblem countdown_of(const Json& gold);

}  // namespace r1
