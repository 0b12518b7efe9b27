// ops/sample/sample.h: choosing the next token from a row of logits.
//
// The log-prob reported is of softmax(logits / temperature) before top-k, top-p and min-p (ops/loss's row
// function); temperature 0 is greedy (lowest index wins ties) and reports the log-prob at temperature 1.
// Filters apply in the order top-k, top-p, min-p to the tempered probabilities, ties broken by the lower
// index; the draw inverts the cumulative sum (f64, in index order over the kept tokens) at the caller's
// uniform number: a pure function of (logits, parameters, uniform).
//
// Each filter works on what the one before left, renormalised: top_p keeps the shortest prefix, in descending
// order, whose sum reaches top_p of what top_k kept (at least one token). "Descending" compares the tempered
// logits, which order as the probabilities do but do not round to ties. The cumulative sum runs over blocks
// of 256 tokens: a block's total in 16 f64 lanes and a tree, blocks in order, inside the chosen block in
// index order. The row is not sorted and nothing is allocated (cut.h).
#pragma once

#include <cstdint>

namespace r1 {

struct SamplingParams {
  float temperature = 1.0f;
  int64_t top_k = 0;   // 0: off
  float top_p = 1.0f;  // 1: off
  float min_p = 0.0f;  // 0: off; keeps tokens with p >= min_p * max p
};

struct Sampled {
  int32_t token = 0;
  float logprob = 0;
};

// logits [V], overwritten. uniform in [0, 1). All logits must be finite or -infinity with at least one
// finite: NaN is answered by token -1 (the caller reports which weights are broken).
Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform);

}  // namespace r1
