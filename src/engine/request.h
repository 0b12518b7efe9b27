// engine/request.h: what an engine is asked for, and what comes out of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/constraint.h"
#include "model/config.h"
#include "ops/sample/sample.h"

namespace r1 {

// Names a sample's random numbers: draw i of a sample is Philox of (seed; position first_draw + i, sample,
// prompt, step).
struct RandomKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t prompt = 0;
  // The number of tokens that were drawn with this key before: those of earlier turns of a conversation, or
  // of the beginning of an answer that goes on. So no uniform number is used twice.
  uint32_t first_draw = 0;
};

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  std::string opening;          // see ChatPrompt; changes no sample
  int64_t samples = 1;
  int64_t first_sample = 0;  // the samples are first_sample .. first_sample + samples - 1
  int64_t max_tokens = 256;  // generated, the stop token included; sampling.max_length may be less
  SamplingParams sampling;
  RandomKey key;
  std::vector<int32_t>
      stop_tokens;            // usually the model's end-of-sequence tokens; kept as a sample's last token
  bool detect_loops = false;  // end a sample that only repeats itself
  // Requests share cached prefixes only with requests of the same owner, so that no owner can learn from the
  // timing what another one asked.
  std::string owner = {};
  // A grammar that every answer follows; made for the model's vocabulary. Log-probs stay those of the model's
  // own logits: a mask changes them as little as top_k does.
  std::optional<Constraint> constraint = {};
  int64_t top_logprobs = 0;  // report so many of the likeliest tokens beside each generated one
  // Report the same of the prompt's tokens. Then the whole prompt is computed, whatever is cached.
  bool prompt_logprobs = false;
};
inline constexpr int64_t kMostTopLogprobs = 256;

// The unfinished samples of `request`, as requests: one for each run of consecutive samples.
std::vector<Request> unfinished_part(const Request& request,
                                     const std::function<bool(int64_t sample)>& is_finished);

enum class FinishReason : uint8_t { stop, length, loop };
std::string_view name_of(FinishReason reason);
FinishReason finish_from_name(std::string_view name);  // throws Error

struct Completion {
  int64_t request = 0;  // the id that submit() returned; from stream() and run(): the index in their list
  int64_t sample = 0;
  std::vector<int32_t> tokens;  // generated, with the stop token
  std::vector<float> logprobs;  // of each, see ops/sample
  FinishReason finish = FinishReason::length;
  // False if the request has a constraint and the answer is not a whole text of its grammar: it was cut short
  // by max_tokens, by a loop or by the caller. A whole text that cannot go on ends with reason stop, without
  // a stop token.
  bool complete = true;
  std::vector<Sampled> likeliest = {};  // Request::top_logprobs per token, from the likeliest
  // Tokens of the prompt that were not computed for this request but found cached.
  int64_t cached_tokens = 0;
  // Request::prompt_logprobs: of the prompt's tokens from the second on, and the likeliest in their places.
  std::vector<float> prompt_logprobs = {};
  std::vector<Sampled> prompt_likeliest = {};
};

// Throws Error, which begins with `what`, if the model can never answer the request: an empty or too long
// prompt, tokens outside the vocabulary, a number that is out of range.
void check_request(const Request& request, const ModelConfig& config, const std::string& what);

// Returns the most tokens that an answer to the (checked) request may have, at least 1.
int64_t room_of(const Request& request, const ModelConfig& config);

// Returns true if `tokens` ends in a block repeated over and over: the same period for at least kLoopTokens
// tokens.
bool is_looping(std::span<const int32_t> tokens);
inline constexpr int64_t kLoopTokens = 256;

}  // namespace r1
