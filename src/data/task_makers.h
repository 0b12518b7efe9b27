// data/task_makers.h: the families of generated tasks besides countdown, one .cc file each.
//
// A maker draws a content of its level (1 easy, 2, 3 hard) on the given side of the split, then words for it.
// It fills question, gold and key; its caller sets the task's name.
#pragma once

#include "base/random.h"
#include "data/task.h"

namespace r1 {

Problem make_arithmetic(Random& random, int level, Split split);
Problem make_equation(Random& random, int level, Split split);
Problem make_base_conversion(Random& random, int level, Split split);
Problem make_calendar(Random& random, int level, Split split);
Problem make_knights_knaves(Random& random, int level, Split split);
Problem make_sequence(Random& random, int level, Split split);
Problem make_word_problem(Random& random, int level, Split split);
Problem make_game24(Random& random, int level, Split split);  // held out only

}  // namespace r1
