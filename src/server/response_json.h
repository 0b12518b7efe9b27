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
  int64_t created = 0;
  uint64_t seed = 0;
};

struct TokenUsage {
  int64_t prompt = 0, cached = 0, completion = 0, reasoning = 0;
};

// Why an answer ended. `reason` is OpenAI's: stop or length. `detail` is ours: end (the model ended it), stop
// (a stop string or token of the request), length (max_tokens), context (the model's context is full), loop
// (the answer only repeated itself), timeout (the server's time limit).
struct Finish {
  std::string reason, detail;
  Json stop;  // the stop string or token id of the request that ended the answer, else null
};

// A choice as far as it is complete.
struct ChoiceText {
  int64_t index = 0;
  std::string content = {}, reasoning = {};
  bool has_reasoning = false;
  std::vector<TokenRecord> tokens = {};
  bool logprobs = false, token_ids = false;
  std::optional<Finish> finish = {};
  // Completions only: characters of the text before `tokens`.
  int64_t offset = 0;
};

// {"id", "object", "created", "model", "system_fingerprint", "seed"}, without choices.
Json response_head(const ResponseHead& head, bool chunk);
Json usage_json(const TokenUsage& usage);
// An item of "choices" of a whole answer.
Json choice_json(const Tokenizer& tokenizer, bool is_chat, const ChoiceText& choice);
// An item of "choices" of a chunk. Chat: `first` opens the message with its role.
Json chunk_choice_json(const Tokenizer& tokenizer, bool is_chat, const ChoiceText& choice, bool first);
// The number of characters of the tokens' text, a character counted with its first byte.
int64_t characters_of(const Tokenizer& tokenizer, const std::vector<TokenRecord>& tokens);

// "data: {...}\n\n"
std::string event_of(const Json& json);

}  // namespace r1
