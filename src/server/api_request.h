// server/api_request.h: the bodies of POST /v1/chat/completions and /v1/completions.
//
// Field names and ranges are OpenAI's (API description 2.3.0), and for the rest vLLM's: top_k, min_p,
// repetition_penalty and all others of engine/sampling_config.h, stop_token_ids, ignore_eos,
// return_token_ids, chat_template_kwargs, add_generation_prompt, continue_final_message. r1's own are
// max_thinking_tokens and detect_loops. The form of answers and tools are in answer_structure.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "formats/json.h"
#include "ops/sample/sample.h"
#include "server/answer_structure.h"
#include "text/chat_template.h"

namespace r1 {

inline constexpr int64_t kMostChoices = 128;   // n
inline constexpr int64_t kMostPrompts = 2048;  // of one completion call
inline constexpr int64_t kMostStopStrings = 16;
inline constexpr int64_t kMostStopBytes = 1024;  // of one
inline constexpr int64_t kMostLikeliest = 20;    // top_logprobs

// How hard the model may think: a share of the answer's tokens.
enum class Effort : uint8_t { none, minimal, low, medium, high, xhigh, max };

struct ApiRequest {
  bool is_chat = false;
  bool is_messages = false;  // a chat whose answer has the form of Anthropic's messages
  std::optional<std::string> model;

  ChatInput chat;  // is_chat only
  bool continue_final_message = false;
  using Prompt = std::variant<std::string, std::vector<int32_t>>;
  std::vector<Prompt> prompts;  // otherwise
  bool echo = false;

  int64_t n = 1;  // choices per prompt
  bool stream = false, include_usage = false;
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false, detect_loops = true;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  bool return_token_ids = false;
  std::optional<Effort> effort;
  std::optional<int64_t> max_thinking_tokens;
  AnswerStructure structure;
  ToolRequest tools;
  const char* limit_field = "max_tokens";  // the name that the request has for it

  bool is_structured() const { return structure.kind != AnswerStructure::Kind::free || tools.may_call(); }

  std::vector<std::string> unknown_fields;

  int64_t choices() const { return n * (is_chat ? 1 : static_cast<int64_t>(prompts.size())); }
};

// The model's settings that reading a request needs.
struct RequestDefaults {
  SamplingParams sampling;  // the model's own
  int64_t vocab_size = 0;
};

// Reads a stop string or a list of them.
void read_stop(const Json& field, std::vector<std::string>& stop);

// Throw Error that names the field.
ApiRequest read_chat_request(const Json& body, const RequestDefaults& defaults);
ApiRequest read_completion_request(const Json& body, const RequestDefaults& defaults);

// The most tokens that a thought may have in an answer of `max_tokens`, such that both limits are kept and an
// answer has room: a quarter of a short limit, 256 tokens of a long one, and at least `answer_tokens`. No value:
// the request sets no limit. 0: no thought.
std::optional<int64_t> thought_limit(const ApiRequest& request, int64_t max_tokens,
                                     int64_t answer_tokens = 0);

}  // namespace r1
