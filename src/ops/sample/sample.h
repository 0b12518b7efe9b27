// ops/sample/sample.h: choosing the next token from a row of logits.
//
// The reported log-prob is that of softmax(logits / temperature) before top-k, top-p and min-p (ops/loss's
// row function). Temperature 0 is greedy (on ties the lowest index wins) and reports the log-prob at
// temperature 1. Filters apply to the tempered probabilities in the order top-k, top-p, min-p; ties are
// broken by the lower index. The draw inverts the cumulative sum (f64, in index order over the kept tokens)
// at the caller's uniform number. The result is a pure function of (logits, parameters, uniform).
//
// Each filter works on what the one before kept, renormalised: top_p keeps the shortest prefix, in descending
// order, whose sum reaches top_p of what top_k kept (at least one token). "Descending" compares the tempered
// logits, which have the order of the probabilities but do not round to ties. The cumulative sum runs over
// blocks of 256 tokens: a block's total in 16 f64 lanes and a tree, blocks in order, and inside the chosen
// block in index order. The row is not sorted and nothing is allocated (cut.h).
//
// A mask of allowed tokens (a grammar's) is a bit per token: bit n % 64 of word n / 64. A token that is not
// allowed counts like a logit of -infinity for the filters and the draw. The reported log-prob ignores the
// mask, as it ignores the filters.
//
// A draw can also report the likeliest tokens, and it can be told its token. Both have the log-probs of the
// model's own distribution, and neither changes a bit of another draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace r1 {

struct Context;
class TokenHistory;

// Adds `bias` to the logit of the last of `tokens` if the others are the latest tokens of the sequence.
// -infinity forbids it.
struct SequenceBias {
  std::vector<int32_t> tokens;
  float bias = 0.0f;
  bool operator==(const SequenceBias&) const = default;
};

// engine/sampling_config.h reads these fields from JSON, under the names that transformers and vLLM use.
struct SamplingParams {
  float temperature = 1.0f;
  int64_t top_k = 0;   // 0: off
  float top_p = 1.0f;  // 1: off
  float min_p = 0.0f;  // 0: off; keeps tokens with p >= min_p * max p

  // The rest depends on the sequence so far (history.h); every default is off.
  // Divides positive logits of tokens that the prompt or the answer has; multiplies negative ones.
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;   // subtracted once from each token of the answer
  float frequency_penalty = 0.0f;  // subtracted once per occurrence in the answer
  int64_t no_repeat_ngram = 0;     // no run of this many tokens occurs twice in prompt and answer; 0: off
  int64_t min_new_tokens = 0;      // no stop token before the answer has this many tokens
  int64_t min_length = 0;          // the same for the length of prompt and answer together
  int64_t max_length = 0;          // of prompt and answer together; 0: no limit
  std::vector<int32_t> suppress_tokens = {};        // never drawn
  std::vector<int32_t> begin_suppress_tokens = {};  // never drawn as the answer's first token
  std::vector<SequenceBias> sequence_bias = {};     // bad_words_ids are those of -infinity

  bool operator==(const SamplingParams&) const = default;
};

struct Sampled {
  int32_t token = 0;
  float logprob = 0;
};

// Tokens that stand for a failed draw. NaN or infinite logits (the caller reports which weights are broken):
inline constexpr int32_t kNotNumbers = -1;
// The settings and the mask forbid every token:
inline constexpr int32_t kNothingLeft = -2;

// Requests to a draw beside its settings.
struct DrawOptions {
  // >= 0: the result is this token, whatever the settings and the mask say. Nothing is drawn.
  int32_t forced = -1;
  // Filled with the tokens of the highest log-probs, from the likeliest; of equals the lowest id comes first.
  // Entries beyond the vocabulary get token -1.
  std::span<Sampled> likeliest = {};
};

// logits [V] are overwritten. uniform is in [0, 1). All logits must be finite or -infinity, with at least one
// finite; otherwise the token is kNotNumbers. `allowed` is empty (all are allowed) or has a bit per token.
Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform,
                     std::span<const uint64_t> allowed = {}, const DrawOptions& options = {});

// One draw of a batch.
struct RowToSample {
  Tensor logits;      // [V], overwritten unless `keep`
  bool keep = false;  // other draws need the logits, too
  const SamplingParams* params = nullptr;
  float uniform = 0;
  const TokenHistory* history = nullptr;      // null if the settings do not look back
  std::span<const int32_t> stop_tokens = {};  // used only with a history
  std::span<const uint64_t> allowed = {};
  DrawOptions options = {};
};

// Draws out[i] for rows[i] of V logits each. Every draw is that of sample_token() alone: it does not depend
// on the other rows. Rows may share logits if all of them keep these.
void sample_rows(Context& ctx, int64_t V, std::span<const RowToSample> rows, std::span<Sampled> out);

// Draws on a GPU without waiting for the draws: draw i is written to row i of `drawn` (i32 [at least S, 2], the bytes of
// Sampled), in the order of ctx.stream. No row may have options, and a failed draw shows in its token alone.
void sample_rows_into(Context& ctx, int64_t V, std::span<const RowToSample> rows, const Tensor& drawn);
// On a GPU: tokens[i] becomes the token of draw from[i], or 0 if that draw failed. from[i] = -1 leaves it.
void feed_tokens(Context& ctx, const Tensor& drawn, std::span<const int32_t> from, const Tensor& tokens);

}  // namespace r1
