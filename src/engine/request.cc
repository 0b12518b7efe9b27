#include "engine/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "model/model.h"

namespace r1 {

std::vector<Request> unfinished_part(const Request& request,
                                     const std::function<bool(int64_t sample)>& is_finished) {
  std::vector<Request> parts;
  bool joins = false;  // the sample before this one is unfinished, too
  for (int64_t sample = request.first_sample; sample < request.first_sample + request.samples; ++sample) {
    if (is_finished(sample)) {
      joins = false;
      continue;
    }
    if (!joins) {
      parts.push_back(request);
      parts.back().first_sample = sample;
      parts.back().samples = 0;
    }
    ++parts.back().samples;
    joins = true;
  }
  return parts;
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::loop:
      return "loop";
  }
  return "?";
}

FinishReason finish_from_name(std::string_view name) {
  for (const FinishReason reason : {FinishReason::stop, FinishReason::length, FinishReason::loop}) {
    if (name_of(reason) == name) return reason;
  }
  throw Error("finish_reason is \"" + std::string(name) + "\"; it must be stop, length or loop");
}

bool is_looping(std::span<const int32_t> tokens) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  // A period must repeat at least four times within the window.
  for (int64_t period = 1; period <= kLoopTokens / 4 && n >= kLoopTokens; ++period) {
    bool same = true;
    for (int64_t i = n - 1; same && i >= n - kLoopTokens + period; --i) {
      same = tokens[static_cast<size_t>(i)] == tokens[static_cast<size_t>(i - period)];
    }
    if (same) return true;
  }
  return false;
}

namespace {

// Throws Error if `value` (NaN included) is not between `low` and `high`.
template <class T>
void check_range(const std::string& what, const char* name, T value, double low, double high) {
  const auto number = static_cast<double>(value);
  if (!(number >= low && number <= high))
    throw Error(fmt::format("{}: {} is {}; it must be between {} and {}", what, name, value, low, high));
}

void check_ids(const std::string& what, const char* name, std::span<const int32_t> ids, int64_t vocab) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab)
      throw Error(
          fmt::format("{}: {} has token {}; the model's token ids are 0 to {}", what, name, id, vocab - 1));
  }
}

// These are the ranges of engine/sampling_config.cc, which reads the same settings from JSON.
void check_sampling(const SamplingParams& p, int64_t vocab, const std::string& what) {
  constexpr double kMost = 1000, kCount = 1e9, kBias = 1e6;
  check_range(what, "temperature", p.temperature, 0, kMost);
  check_range(what, "top_k", p.top_k, 0, kCount);
  check_range(what, "top_p", p.top_p, 0, 1);
  check_range(what, "min_p", p.min_p, 0, 1);
  check_range(what, "repetition_penalty", p.repetition_penalty, static_cast<double>(1e-3f), kMost);
  check_range(what, "presence_penalty", p.presence_penalty, -kMost, kMost);
  check_range(what, "frequency_penalty", p.frequency_penalty, -kMost, kMost);
  check_range(what, "no_repeat_ngram_size", p.no_repeat_ngram, 0, kCount);
  check_range(what, "min_new_tokens", p.min_new_tokens, 0, kCount);
  check_range(what, "min_length", p.min_length, 0, kCount);
  check_range(what, "max_length", p.max_length, 0, kCount);
  check_ids(what, "suppress_tokens", p.suppress_tokens, vocab);
  check_ids(what, "begin_suppress_tokens", p.begin_suppress_tokens, vocab);
  for (const SequenceBias& bias : p.sequence_bias) {
    if (bias.tokens.empty())
      throw Error(what + ": sequence_bias has an empty entry; it must have at least one token id");
    check_ids(what, "sequence_bias", bias.tokens, vocab);
    if (bias.bias != -std::numeric_limits<float>::infinity())
      check_range(what, "sequence_bias", bias.bias, -kBias, kBias);
  }
}

}  // namespace

void check_request(const Request& r, const ModelConfig& config, const std::string& what) {
  check_tokens(config, r.prompt, what);
  if (r.max_tokens < 1)
    throw Error(fmt::format("{}: max_tokens is {}; it must be at least 1", what, r.max_tokens));
  if (r.samples < 1) throw Error(fmt::format("{}: samples is {}; it must be at least 1", what, r.samples));
  if (r.first_sample < 0 || r.samples > UINT32_MAX || r.first_sample > UINT32_MAX - r.samples) {
    throw Error(fmt::format("{}: asks for samples {} to {}; they must be between 0 and {}", what,
                            r.first_sample, r.first_sample + (r.samples - 1), UINT32_MAX - 1));
  }
  check_sampling(r.sampling, config.vocab_size, what);
  if (r.constraint && r.constraint->masks->vocabulary().size() != config.vocab_size) {
    throw Error(fmt::format("{}: the grammar is for a vocabulary of {} tokens; the model has {}", what,
                            r.constraint->masks->vocabulary().size(), config.vocab_size));
  }
  check_range(what, "top_logprobs", r.top_logprobs, 0, static_cast<double>(kMostTopLogprobs));
  // A stop token that no model draws does no harm, but it cannot be held back.
  if (r.sampling.min_new_tokens > 0 || r.sampling.min_length > 0)
    check_ids(what, "stop_tokens", r.stop_tokens, config.vocab_size);
  const int64_t length = static_cast<int64_t>(r.prompt.size());
  if (length >= config.max_positions) {
    throw Error(what + ": is " + std::to_string(length) +
                " tokens long and leaves no room for an answer in the model's context of " +
                std::to_string(config.max_positions));
  }
  const int64_t most = r.sampling.max_length;
  if (most > 0 && length >= most) {
    throw Error(what + ": is " + std::to_string(length) +
                " tokens long and leaves no room for an answer within max_length = " + std::to_string(most) +
                ": raise max_length, or give the number of new tokens");
  }
}

int64_t room_of(const Request& r, const ModelConfig& config) {
  const int64_t length = static_cast<int64_t>(r.prompt.size());
  const int64_t room = std::min(r.max_tokens, config.max_positions - length);
  return r.sampling.max_length > 0 ? std::min(room, r.sampling.max_length - length) : room;
}

}  // namespace r1
