// data/countdown_trace.h: reasoning traces for the pre-training corpus. The thinker tries almost at random,
// checks every attempt, gives up early and then answers with the last attempt, right or wrong.
//
// Nothing here searches. The base model can learn the format, arithmetic, and that trying again is possible;
// finding the search is left to reinforcement learning. Most traces are short, so they have room to grow.
#pragma once

#include <string>

#include "base/random.h"
#include "data/countdown.h"
#include "data/expression_tree.h"

namespace r1 {

struct TraceOptions {
  double stop = 0.65;       // probability, after a failed attempt, of giving up and answering it
  double long_share = 0.1;  // share of the traces that give up with long_stop instead
  double long_stop = 0.15;
  double aimed = 0.3;  // share of attempts whose last step aims at the target
  int max_attempts = 8;
  StepRules rules{};
};

struct CountdownTrace {
  std::string thought;  // attempts, a line each: "40+49=89-23=66 yes", "16*2=32,32-5=27 no"
  std::string answer;   // the last attempt's expression, without needless parentheses
  int attempts = 0;
  bool correct = false;
};

// Every equation in a trace is true, and no attempt of a trace repeats another (up to order and grouping).
// Takes 2 to kMaxCountdownNumbers numbers; throws Error for others and for impossible options.
CountdownTrace make_trace(Random& random, const CountdownProblem& problem, const TraceOptions& options);

// <think>thought</think><answer>answer</answer>
std::string to_document(const CountdownTrace& trace);

}  // namespace r1
