// data/game24.cc: the Game of 24 as a generated task: four cards of 1 to 13 that can make 24. Hands with few
// solutions are harder.
#include <array>
#include <vector>

#include "base/error.h"
#include "data/countdown.h"
#include "data/countdown_question.h"
#include "data/task_makers.h"

namespace r1 {
namespace {

// Fewest and most different solutions of a level's hands.
struct Solutions {
  int64_t fewest, most;
};
constexpr std::array<Solutions, 3> kSolutions{{{5, INT64_MAX}, {2, 4}, {1, 1}}};

}  // namespace

Problem make_game24(Random& random, int level, Split split) {
  R1_CHECK(split == Split::held_out, "all hands are held out");
  const Solutions wanted = kSolutions[static_cast<size_t>(level - 1)];
  CountdownProblem hand{.numbers = std::vector<int>(4), .target = 24};
  int64_t solutions = 0;
  do {
    for (int& card : hand.numbers) card = static_cast<int>(random.between(1, 13));
    solutions = count_solutions(hand.numbers, hand.target);
  } while (solutions < wanted.fewest || solutions > wanted.most);
  return countdown_task(hand, static_cast<int>(random.below(kPhrasings)));
}

}  // namespace r1
