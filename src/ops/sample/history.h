// ops/sample/history.h: the sampling settings that depend on the sequence so far: penalties, biases and bans.
//
// They change the logits before temperature and filters, in this order (as in transformers and vLLM):
//
//   sequence_bias, bad_words_ids   logit += bias
//   repetition_penalty p           logit = logit < 0 ? logit * p : logit / p,    tokens of prompt or answer
//   frequency_penalty f            logit -= f * (times that the token occurs in the answer)
//   presence_penalty q             logit -= q,                                   tokens of the answer
//   no_repeat_ngram, min_new_tokens, min_length, suppress_tokens, begin_suppress_tokens
//                                  logit = -infinity
//
// The result is a pure function of (logits, settings, prompt, answer so far). The reported log-prob is that
// of the model's own logits: it ignores all of these settings, as it ignores top-k.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "ops/sample/sample.h"

namespace r1 {

// True if any of these settings is on. If none is, sample_token() needs no history.
bool looks_back(const SamplingParams& params);

// The history of one sequence that the settings need. Its size grows with the sequence's length.
class TokenHistory {
 public:
  struct Seen {
    int32_t token = 0;
    int32_t generated = 0;  // occurrences in the answer
  };

  explicit TokenHistory(std::span<const int32_t> prompt);
  void add(int32_t token);  // the answer's next token

  std::span<const int32_t> tokens() const { return tokens_; }  // prompt, then answer
  std::span<const Seen> seen() const { return seen_; }         // each token once
  int64_t generated() const { return static_cast<int64_t>(tokens_.size()) - prompt_; }

 private:
  Seen& entry(int32_t token);

  std::vector<int32_t> tokens_;
  int64_t prompt_ = 0;  // tokens of the prompt
  std::vector<Seen> seen_;
  std::unordered_map<int32_t, size_t> index_;  // into seen_
};

// The changes that the settings make to the logits of a sequence's next token, in this order.
struct TokenEdits {
  struct Bias {
    int32_t token = 0;
    float bias = 0;
  };
  std::vector<Bias> biases;        // are added one after the other; a token may have several
  bool penalised = false;          // the penalties apply to the tokens of history.seen()
  std::vector<int32_t> forbidden;  // become -infinity; a token may occur several times
};
TokenEdits token_edits(const SamplingParams& params, const TokenHistory& history,
                       std::span<const int32_t> stop_tokens);

// Like sample_token() without a history. min_new_tokens and min_length hold back `stop_tokens`. Returns token
// kNothingLeft if the settings forbid every token.
Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, const TokenHistory& history,
                     std::span<const int32_t> stop_tokens, float uniform,
                     std::span<const uint64_t> allowed = {}, const DrawOptions& options = {});

}  // namespace r1
