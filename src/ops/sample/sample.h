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
#include <vector>

namespace r1 {

// Adds `bias` to the logit of the last of `tokens` when the others stand before it. -infinity forbids it.
struct SequenceBias {
  std::vector<int32_t> tokens;
  float bias = 0.0f;
  bool operator==(const SequenceBias&) const = default;
};

// engine/sampling_config.h reads these fields from JSON, by the names that transformers and vLLM give them.
struct SamplingParams {
  float temperature = 1.0f;
  int64_t top_k = 0;   // 0: off
  float top_p = 1.0f;  // 1: off
  float min_p = 0.0f;  // 0: off; keeps tokens with p >= min_p * max p

  // The rest depends on the sequence so far (history.h); every default is off.
  float repetition_penalty =
      1.0f;  // divides a positive logit of a token of the prompt or the answer, multiplies a negative one
  float presence_penalty = 0.0f;   // subtracted once for every token of the answer
  float frequency_penalty = 0.0f;  // subtracted as often as the answer has the token
  int64_t no_repeat_ngram = 0;     // no run of this many tokens occurs twice in prompt and answer; 0: off
  int64_t min_new_tokens = 0;      // no stop token before the answer has this many tokens
  int64_t min_length = 0;          // the same, counting the prompt's tokens too
  int64_t max_length = 0;          // of prompt and answer together; 0: no such limit
  std::vector<int32_t> suppress_tokens = {};        // never drawn
  std::vector<int32_t> begin_suppress_tokens = {};  // never drawn as the answer's first token
  std::vector<SequenceBias> sequence_bias = {};     // bad_words_ids are those of -infinity

  bool operator==(const SamplingParams&) const = default;
};

struct Sampled {
  int32_t token = 0;
  float logprob = 0;
};

// logits [V], overwritten. uniform in [0, 1). All logits must be finite or -infinity with at least one
// finite: NaN is answered by token kNotNumbers (the caller reports which weights are broken).
inline constexpr int32_t kNotNumbers = -1;
Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform);

}  // namespace r1
