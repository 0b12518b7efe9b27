// server/response_json.h: the objects that the API answers with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "server/answer_stream.h"
#include "text/tokenizer.h"

namespace r1 {

// The fields that every object of an answer repeats.
struct ResponseHead {
  bool is_chat = false;
  std::string id, model, fingerprint;
  std::string call_seed = {};  // of the names of calls: a function of the seed and the prompt
  int64_t created = 0;
  uint64_t seed = 0;
};

struct TokenUsage {
  int64_t prompt = 0, cached = 0, completion = 0, reasoning = 0;
};

// Why an answer ended. `reason` is OpenAI's: stop, tool_calls or length. `detail` is ours: end (the model ended
// it), tool_calls (behind its calls), stop (a stop string or token of the request), length (max_tokens), context
// (the model's context is full), loop (the answer only repeated itself), timeout (the server's time limit). If
// the answer lacks a part of the form that was asked for, the reason is length, and the detail goes on with
// _incomplete_json, _incomplete_text or _incomplete_call.
struct Finish {
  std::string reason, detail;
  Json stop;  // the stop string or token id of the request that ended the answer, else null
};

// A choice as far as it is complete.
struct ChoiceText {
  int64_t index = 0;
  std::string content = {}, reasoning = {};
  bool has_reasoning = false;
  std::vector<ToolCallPart> calls = {};
  std::vector<TokenRecord> tokens = {};
  bool logprobs = false, token_ids = false;
  std::optional<Finish> finish = {};
  // Completions only: characters of the text before `tokens`.
  int64_t offset = 0;
};

// {"id", "object", "created", "model", "system_fingerprint", "seed"}, without choices.
Json response_head(const ResponseHead& head, bool chunk);
Json usage_json(const TokenUsage& usage);
// The name of a call of an answer's choice: "PREFIX" and 24 digits. The same request with the same seed has the
// same names, and no two calls of a conversation have the same.
std::string call_id(const ResponseHead& head, std::string_view prefix, int64_t choice, int64_t call);
// An item of "choices" of a whole answer.
Json choice_json(const Tokenizer& tokenizer, const ResponseHead& head, const ChoiceText& choice);
// An item of "choices" of a chunk. Chat: `first` opens the message with its role.
Json chunk_choice_json(const Tokenizer& tokenizer, const ResponseHead& head, const ChoiceText& choice,
                       bool first);
// The number of characters of the tokens' text, a character counted with its first byte.
int64_t characters_of(const Tokenizer& tokenizer, const std::vector<TokenRecord>& tokens);

// "data: {...}\n\n"
std::string event_of(const Json& json);

}  // namespace r1
