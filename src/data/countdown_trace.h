// data/countdown_trace.h: reasoning traces for the pre-training corpus: a thinker who tries almost at random,
// checks every attempt, gives up early and then answers whatever came last, right or wrong.
//
// Nothing here searches: what the base model can learn is the format, arithmetic, and that trying again is
// possible. The search is for reinforcement learning to find. Most traces are short, which leaves them room
// to grow.
#pragma once

#include <string>

#include "base/random.h"
#include "data/countdown.h"
#include "data/expression_tree.h"

namespace r1 {

struct TraceOptions {
  double stop = 0.65;       // after a failed attempt: give up and answer it
  double long_share = 0.1;  // of the traces, these give up with long_stop instead
  double long_stop = 0.15;
  double aimed = 0.3;  // an attempt takes its last step towards the target
  int max_attempts = 8;
  StepRules rules{};
};

struct CountdownTrace {
  std::string thought;  // attempts, a line each: "40+49=89-23=66 yes", "16*2=32,32-5=27 no"
  std::string answer;   // the last attempt's expression, needed parentheses only
  int attempts = 0;
  bool correct = false;
};

// Every equation written is true; no attempt of a trace repeats another (up to order and grouping). 2 to
// kMaxCountdownNumbers numbers; Error on others and on impossible options.
CountdownTrace make_trace(Random& random, const CountdownProblem& problem, const TraceOptions& options);

// <think>thought</think><answer>answer</answer>
std::string to_document(const CountdownTrace& trace);

}  // namespace r1
