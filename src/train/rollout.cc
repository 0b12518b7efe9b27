#include "train/rollout.h"

#include "base/error.h"

namespace r1 {
namespace {

RolloutSegment append_tokens(std::span<const int32_t> more, std::vector<int32_t>& tokens) {
  const int64_t begin = std::ssize(tokens);
  tokens.insert(tokens.end(), more.begin(), more.end());
  return {.tokens = {begin, std::ssize(tokens)}};
}

}  // namespace

void Rollout::add_environment(std::span<const int32_t> more) {
  if (more.empty()) return;
  segments.push_back(append_tokens(more, tokens));
}

void Rollout::add_policy(std::span<const int32_t> more, std::span<const float> logprobs, int64_t weights) {
  R1_CHECK(!segments.empty(), "a rollout begins with its prompt");
  R1_CHECK(more.size() == logprobs.size(), more.size(), " tokens, ", logprobs.size(), " log-probs");
  if (more.empty()) return;
  RolloutSegment& segment = segments.emplace_back(append_tokens(more, tokens));
  segment.policy = true;
  segment.weights = weights;
  old_logprobs.insert(old_logprobs.end(), logprobs.begin(), logprobs.end());
}

std::span<const int32_t> Rollout::prompt_tokens() const {
  return std::span(tokens).first(static_cast<size_t>(segments.front().tokens.end));
}

std::span<const int32_t> Rollout::answer() const {
  return std::span(tokens).subspan(static_cast<size_t>(segments.front().tokens.end));
}

TokenRanges Rollout::policy_ranges() const {
  TokenRanges ranges;
  for (const RolloutSegment& s : segments) {
    if (s.policy) ranges.push_back(s.tokens);
  }
  return ranges;
}

}  // namespace r1
