// data/countdown.h: the countdown game: join the given numbers by + - * / and parentheses, each exactly once,
// to reach the target. Problems, their exact solver, and the split by number multiset. (Questions:
// countdown_question.h; reasoning traces: countdown_trace.h.)
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
  Split split = Split::train;
};

// The target is the value of a random whole-number tree over random numbers. The tree's operators are drawn
// first and numbers drawn again until they allow them, the target falls in its range and the numbers in the
// split: drawn the other way round, nineteen of twenty problems would be sums and differences alone. So a
// problem can always be solved, and small numbers are commoner than large ones. Throws Error where the
// options leave (next to) nothing to draw.
CountdownProblem make_problem(Random& random, const CountdownOptions& options);

// An expression that uses every number exactly once and equals the target, found by exhaustive search over
// exact fractions; nothing if there is none. 1 to 6 non-negative numbers with 2^(n-1) * product < 2^63 (so no
// intermediate overflows); others are an Error. Deterministic. Up to four numbers take well under a
// millisecond, six some tenths of a second.
std::optional<std::string> solve(std::span<const int> numbers, int64_t target);

// How many different solutions there are; two that differ only by the order or grouping of a sum's terms or a
// product's factors, or by which of two equal numbers stands where, are the same. 1 to 5 numbers, else as
// solve.
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
