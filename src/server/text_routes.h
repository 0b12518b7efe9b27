// server/text_routes.h: POST /tokenize, /detokenize and /apply-template: text and tokens without the model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "server/serving.h"

namespace r1 {

struct TextAnswer {
  Json body;
  std::optional<std::string> model;  // as the request names it
  std::vector<std::string> unknown_fields;
};

// Throw Error.
//
// {"prompt" (or "content"), "add_special_tokens"} or {"messages", ...as in a chat}
//   -> {"tokens", "count", "max_model_len", "token_strs"}; the last one with "return_token_strs": true
TextAnswer tokenize_route(const Serving& serving, const Json& body);
// {"tokens"} -> {"prompt", "content"}, both the text
TextAnswer detokenize_route(const Serving& serving, const Json& body);
// A body of /v1/messages, whose max_tokens may be missing -> {"input_tokens"}
TextAnswer count_route(const Serving& serving, const Json& body);
// {"messages", ...as in a chat} -> {"prompt"}
TextAnswer template_route(const Serving& serving, const Json& body);

}  // namespace r1
