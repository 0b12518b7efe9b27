// data/task.h: the tasks' interface to the rest of the program: questions with answers that can be checked.
//
// The tasks are the rows of one table (task.cc): a name, a maker of problems, a verifier of answers. Most
// come in levels: "arithmetic:1" (easy) to "arithmetic:3"; "arithmetic" also draws the level. Problems of any
// task, and of "expression" (reach a given value by any expression), are also read from files
// (data/problem_file.h).
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
  std::string task;      // its name, with the level if one was asked for
  std::string question;  // the user's turn, without any prompt around it
  // The answer as JSON, in the form of the task's verifier (reward/verifier.h). It may be empty if the user's
  // own program judges.
  //   countdown          {"numbers":[3,5,7],"target":24}
  //   expression, number "24" or "7/2"
  //   equation           {"unknown":"x","value":"7/2"}
  //   math               any text, such as "\\frac{1}{2}"
  //   digits             {"base":16,"digits":"ff"}
  //   calendar           {"weekday":"Friday"}, {"days":59} or {"date":"2024-03-01"}
  //   roles              {"Ann":"knight","Bob":"knave"}
  //   text, regex, json  see reward/text_verifier.h, pattern_verifier.h and json_verifier.h
  std::string gold;
  // The content, which contamination checks compare and whose hash decides the split (split.h). countdown*:
  // "countdown 3 5 7", the numbers ascending. Empty if it is not known, as for a question from a file.
  std::string key;
  bool operator==(const Problem&) const = default;
};

// The tasks of make_problem, without levels.
const std::vector<std::string>& task_names();

// True if the task comes in levels. Throws as verifier_name does.
bool has_levels(std::string_view name);

// Returns the verifier of a task (with or without a level; also of "expression"). Throws Error with the
// nearest known name if `name` is not a task or has no such level.
std::string_view verifier_name(std::string_view name);

// Throws as verifier_name does, and if the task has no generated problems on this side of the split.
void check_task(std::string_view name, Split split);

// Problem `index` of the endless list (name, seed, split): a pure function of its arguments. Throws as
// check_task does.
Problem make_problem(std::string_view name, uint64_t seed, uint64_t index, Split split);

// Converts a countdown problem to a Problem, asked in phrasing 0 .. kPhrasings-1, and back from its gold. The
// latter two throw Error if the gold does not have that form.
Problem countdown_task(const CountdownProblem& problem, int phrasing);
CountdownProblem countdown_of(const Problem& problem);
CountdownProblem countdown_of(const Json& gold);

}  // namespace r1
