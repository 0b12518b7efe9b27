#include "ops/sample/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "ops/loss/loss.h"
#include "ops/sample/cut.h"

namespace r1 {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// Changes logits and can take the changes back.
class Edits {
 public:
  explicit Edits(float* logits) : logits_(logits) {}

  void set(int32_t token, float value) {
    log_.push_back({.token = token, .value = logits_[token]});
    logits_[token] = value;
  }

  // Restores the logits; apply() makes the changes again.
  void take_back() {
    std::vector<float> changed;
    for (const Entry& entry : log_) changed.push_back(logits_[entry.token]);
    for (size_t i = log_.size(); i-- > 0;) logits_[log_[i].token] = std::exchange(log_[i].value, changed[i]);
  }

  // Makes the changes after take_back(), on logits that were multiplied by `scale` in between. Remembers the
  // values that it replaces.
  void apply(float scale) {
    for (Entry& entry : log_) entry.before = logits_[entry.token];
    for (const Entry& entry : log_) logits_[entry.token] = entry.value * scale;
  }

  // Restores the values that apply() replaced.
  void undo() {
    for (const Entry& entry : log_) logits_[entry.token] = entry.before;
  }

 private:
  struct Entry {
    int32_t token = 0;
    float value = 0;  // the logit before the change; after take_back(), the logit after it
    float before = 0;
  };
  float* logits_;
  std::vector<Entry> log_;
};

bool ends_with(std::span<const int32_t> tokens, std::span<const int32_t> end) {
  return tokens.size() >= end.size() && std::ranges::equal(tokens.last(end.size()), end);
}

bool contains(std::span<const int32_t> tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

void add_biases(const SamplingParams& params, const TokenHistory& history,
                std::span<const int32_t> stop_tokens, TokenEdits& edits) {
  for (const SequenceBias& bias : params.sequence_bias) {
    const std::span<const int32_t> run = bias.tokens;
    // A ban on a stop token alone would make answers endless; transformers lifts it.
    if (run.size() == 1 && bias.bias == kForbidden && contains(stop_tokens, run[0])) continue;
    if (!ends_with(history.tokens(), run.first(run.size() - 1))) continue;
    edits.biases.push_back({run.back(), bias.bias});
  }
}

float penalised_logit(const SamplingParams& params, const TokenHistory::Seen& seen, float logit) {
  const float repetition = params.repetition_penalty;
  if (repetition != 1.0f) logit = logit < 0.0f ? logit * repetition : logit / repetition;
  if (seen.generated > 0) {
    logit -= params.frequency_penalty * static_cast<float>(seen.generated);
    logit -= params.presence_penalty;
  }
  return logit;
}

void forbid_repeats(int64_t n, const TokenHistory& history, TokenEdits& edits) {
  const std::span<const int32_t> tokens = history.tokens();
  const auto before = static_cast<size_t>(n - 1);
  if (n < 1 || tokens.size() < before) return;
  const auto end = tokens.last(before);
  for (size_t i = 0; i + before < tokens.size(); ++i) {
    if (std::ranges::equal(tokens.subspan(i, before), end)) edits.forbidden.push_back(tokens[i + before]);
  }
}

void forbid(const SamplingParams& params, const TokenHistory& history, std::span<const int32_t> stop_tokens,
            TokenEdits& edits) {
  const auto add = [&edits](std::span<const int32_t> tokens) {
    edits.forbidden.insert(edits.forbidden.end(), tokens.begin(), tokens.end());
  };
  forbid_repeats(params.no_repeat_ngram, history, edits);
  if (history.generated() < params.min_new_tokens || std::ssize(history.tokens()) < params.min_length)
    add(stop_tokens);
  add(params.suppress_tokens);
  if (history.generated() == 0) add(params.begin_suppress_tokens);
}

}  // namespace

bool looks_back(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f ||
         p.no_repeat_ngram > 0 || p.min_new_tokens > 0 || p.min_length > 0 || !p.suppress_tokens.empty() ||
         !p.begin_suppress_tokens.empty() || !p.sequence_bias.empty();
}

TokenHistory::TokenHistory(std::span<const int32_t> prompt)
    : tokens_(prompt.begin(), prompt.end()), prompt_(std::ssize(prompt)) {
  for (const int32_t token : prompt) entry(token);
}

void TokenHistory::add(int32_t token) {
  tokens_.push_back(token);
  ++entry(token).generated;
}

TokenHistory::Seen& TokenHistory::entry(int32_t token) {
  const auto [at, is_new] = index_.emplace(token, seen_.size());
  if (is_new) seen_.push_back({.token = token});
  return seen_[at->second];
}

TokenEdits token_edits(const SamplingParams& params, const TokenHistory& history,
                       std::span<const int32_t> stop_tokens) {
  TokenEdits edits;
  add_biases(params, history, stop_tokens, edits);
  edits.penalised = params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
                    params.frequency_penalty != 0.0f;
  forbid(params, history, stop_tokens, edits);
  return edits;
}

Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, const TokenHistory& history,
                     std::span<const int32_t> stop_tokens, float uniform, std::span<const uint64_t> allowed,
                     const DrawOptions& options) {
  const TokenEdits wanted = token_edits(params, history, stop_tokens);
  Edits edits(logits);
  for (const TokenEdits::Bias& b : wanted.biases) edits.set(b.token, logits[b.token] + b.bias);
  if (wanted.penalised) {
    for (const TokenHistory::Seen& seen : history.seen())
      edits.set(seen.token, penalised_logit(params, seen, logits[seen.token]));
  }
  for (const int32_t token : wanted.forbidden) edits.set(token, kForbidden);
  edits.take_back();
  const float scale = params.temperature == 0.0f ? 1.0f : 1.0f / params.temperature;
  const RowSoftmax softmax = row_softmax(logits, V, scale);
  if (!std::isfinite(softmax.sum)) return {kNotNumbers, std::numeric_limits<float>::quiet_NaN()};
  find_likeliest(softmax, logits, V, options.likeliest);
  if (options.forced >= 0) return {options.forced, row_log_prob(softmax, logits, options.forced)};
  edits.apply(scale);
  forbid_unless_allowed(logits, V, allowed);
  const float max = largest_logit(logits, V);
  if (!std::isfinite(max))
    return {max < 0 ? kNothingLeft : kNotNumbers, std::numeric_limits<float>::quiet_NaN()};
  const int64_t chosen = draw_token({logits, V, max}, params, uniform);
  edits.undo();
  return {static_cast<int32_t>(chosen), row_log_prob(softmax, logits, chosen)};
}

}  // namespace r1
