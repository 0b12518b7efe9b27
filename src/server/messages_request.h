// server/messages_request.h: the body of POST /v1/messages, in the form of Anthropic's API, as a chat.
//
//   model, max_tokens (required), messages, system, stop_sequences, stream, temperature, top_p, top_k
//   thinking      {"type": "enabled", "budget_tokens"}: a thought of so many tokens at most; "adaptive": without a
//                 limit; "disabled", or no field: no thought
//   tools         [{"name", "description", "input_schema", "strict"}]
//   tool_choice   {"type": "auto" | "any" | "tool" | "none", "name", "disable_parallel_tool_use"}
//   output_config {"format": {"type": "json_schema", "schema"}}
//
// Contents are texts or lists of blocks: text, thinking, redacted_thinking (which is left out), tool_use,
// tool_result. A last message of the assistant is gone on with. r1's further fields are those of a chat: seed,
// min_p and the other sampling settings, detect_loops.
#pragma once

#include "server/api_request.h"

namespace r1 {

// Reads a body of /v1/messages, or, if `counts`, one of count_tokens, which may lack max_tokens. Throws Error
// that names the field.
ApiRequest read_messages_request(const Json& body, const RequestDefaults& defaults, bool counts = false);

}  // namespace r1
