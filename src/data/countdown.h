// data/countdown.h: the countdown game: join the given numbers by + - * / and parentheses, using each exactly
// once, to reach the target. This file has problems, their exact solver, and the split by number multiset;
// see countdown_question.h for questions and countdown_trace.h for reasoning traces.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "data/split.h"

namespace r1 {

struct CountdownProblem {
  std::vector<int> numbers;
  int64_t target = 0;
  bool operator==(const CountdownProblem&) const = default;
};

struct CountdownOptions {
  double four_numbers = 1.0 / 3;  // share of problems with four numbers; the others have three
  int low = 1;                    // the numbers, both ends included
  int high = 50;
  int64_t target_low = 10;
  int64_t target_high = 99;
  int64_t step_limit = 99;  // the largest result of a step of the drawn tree
  // False: the tree's operators are drawn before the numbers, see make_problem(). True: numbers and tree are drawn at
  // random, as public sets of countdown problems have them.
  bool numbers_first = false;
  Split split = Split::train;
};

// Draws a problem. The target is the value of a random whole-number tree over random numbers. The tree's
// operators are drawn first; then numbers are drawn until they allow these operators, the target is in its
// range and the numbers are in the split. In the other order (numbers_first), nineteen of twenty problems are sums and
// differences only. So every problem has a solution, and small numbers are commoner than large ones. Throws
// Error if the options leave (almost) nothing to draw.
CountdownProblem make_problem(Random& random, const CountdownOptions& options);

// Problems of the task countdown99: three or four numbers of 1 to 99, drawn first.
constexpr CountdownOptions countdown99_options(Split split) {
  return {.high = 99, .step_limit = 999, .numbers_first = true, .split = split};
}

// Returns an expression that uses every number exactly once and equals the target, found by exhaustive search
// over exact fractions; nothing if there is none. Takes 1 to 6 non-negative numbers with 2^(n-1) * product <
// 2^63 (so no intermediate overflows) and throws Error for others. Deterministic. Up to four numbers take
// well under a millisecond, six some tenths of a second.
std::optional<std::string> solve(std::span<const int> numbers, int64_t target);

// Counts the different solutions. Two solutions are the same if they differ only by the order or grouping of
// a sum's terms or a product's factors, or by the places of two equal numbers. Takes 1 to 5 numbers,
// otherwise as solve.
int64_t count_solutions(std::span<const int> numbers, int64_t target);

// The split. A multiset of numbers is held out by either of two rules:
// - A Game of 24 could deal it: four numbers, all in 1..13. That is a superset of the 1,362 puzzles that
//   results are quoted on, so the program keeps clear of them without reading them.
// - Its content, "countdown a b c" with the numbers ascending, hashes to the held-out side (split.h).
std::string countdown_content(std::span<const int> numbers);
bool is_game24_hand(std::span<const int> numbers);
bool is_held_out(std::span<const int> numbers);

// Split::train: not held out. Split::held_out: held out by the hash and not a Game of 24 hand.
bool in_split(std::span<const int> numbers, Split split);

}  // namespace r1
