#include "server/response_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "engine/sampling_settings.h"
#include "text/think.h"
#include "text/utf8.h"

namespace r1 {
namespace {

Json number_of(float logprob) {
  // JSON has no infinity; this is the number that OpenAI's API writes for it.
  return std::isfinite(logprob) ? Json(shortest_number(logprob)) : Json(-9999.0);
}

std::string text_of(const Tokenizer& tokenizer, int32_t token) {
  return replace_invalid_utf8(tokenizer.piece_bytes(token));
}

Json entry_of(const Tokenizer& tokenizer, int32_t token, float logprob) {
  const std::string bytes = tokenizer.piece_bytes(token);
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<int>(static_cast<unsigned char>(c)));
  Json entry = Json::object();
  entry.set("token", replace_invalid_utf8(bytes)).set("token_id", token);
  entry.set("logprob", number_of(logprob)).set("bytes", std::move(list));
  return entry;
}

Json chat_logprobs(const Tokenizer& tokenizer, const std::vector<TokenRecord>& tokens) {
  Json list = Json::array();
  for (const TokenRecord& t : tokens) {
    Json top = Json::array();
    for (const Sampled& other : t.likeliest) {
      if (other.token >= 0) top.push_back(entry_of(tokenizer, other.token, other.logprob));
    }
    list.push_back(entry_of(tokenizer, t.token, t.logprob).set("top_logprobs", std::move(top)));
  }
  return Json::object().set("content", std::move(list)).set("refusal", Json());
}

int64_t characters(std::string_view bytes) {
  return std::ranges::count_if(bytes, [](char c) { return (c & 0xC0) != 0x80; });
}

Json text_logprobs(const Tokenizer& tokenizer, const ChoiceText& choice) {
  Json tokens = Json::array(), logprobs = Json::array(), top = Json::array(), offsets = Json::array();
  bool has_top = false;
  int64_t offset = choice.offset;
  for (const TokenRecord& t : choice.tokens) {
    tokens.push_back(text_of(tokenizer, t.token));
    // The first token of an echoed prompt has no log-prob.
    logprobs.push_back(std::isnan(t.logprob) ? Json() : number_of(t.logprob));
    offsets.push_back(offset);
    offset += characters_of(tokenizer, {t});
    Json likeliest = Json::object();
    for (const Sampled& other : t.likeliest) {
      const std::string text = other.token < 0 ? "" : text_of(tokenizer, other.token);
      // Two tokens may have the same text (parts of characters): the likelier one counts.
      if (other.token >= 0 && !likeliest.contains(text)) likeliest.set(text, number_of(other.logprob));
    }
    has_top = has_top || !t.likeliest.empty();
    top.push_back(t.likeliest.empty() ? Json() : std::move(likeliest));
  }
  Json out = Json::object();
  out.set("tokens", std::move(tokens)).set("token_logprobs", std::move(logprobs));
  out.set("top_logprobs", has_top ? std::move(top) : Json()).set("text_offset", std::move(offsets));
  return out;
}

// A chunk's parts have the call's index; the first one of a call has its id, type and name.
Json calls_json(const ResponseHead& head, const ChoiceText& choice, bool chunk) {
  Json list = Json::array();
  for (const ToolCallPart& part : choice.calls) {
    Json call = Json::object(), function = Json::object();
    if (chunk) call.set("index", part.index);
    if (part.begins) {
      call.set("id", call_id(head, "call_", choice.index, part.index)).set("type", "function");
      function.set("name", part.name);
    }
    list.push_back(call.set("function", std::move(function.set("arguments", part.arguments))));
  }
  return list;
}

void set_rest(const Tokenizer& tokenizer, bool is_chat, const ChoiceText& choice, Json& out) {
  out.set("logprobs", !choice.logprobs ? Json()
                      : is_chat        ? chat_logprobs(tokenizer, choice.tokens)
                                       : text_logprobs(tokenizer, choice));
  if (choice.token_ids) {
    Json ids = Json::array();
    for (const TokenRecord& t : choice.tokens) ids.push_back(t.token);
    out.set("token_ids", std::move(ids));
  }
  out.set("finish_reason", choice.finish ? Json(choice.finish->reason) : Json());
  if (!choice.finish) return;
  out.set("finish_detail", choice.finish->detail).set("stop_reason", choice.finish->stop);
}

}  // namespace

Json response_head(const ResponseHead& head, bool chunk) {
  Json out = Json::object();
  out.set("id", head.id);
  out.set("object", !head.is_chat ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion");
  out.set("created", head.created).set("model", head.model).set("system_fingerprint", head.fingerprint);
  // Beyond 2^63 a JSON integer would be a double; as int64 it is the number that repeats the answer.
  return out.set("seed", static_cast<int64_t>(head.seed));
}

Json usage_json(const TokenUsage& usage) {
  Json out = Json::object();
  out.set("prompt_tokens", usage.prompt).set("completion_tokens", usage.completion);
  out.set("total_tokens", usage.prompt + usage.completion);
  out.set("prompt_tokens_details", Json::object().set("cached_tokens", usage.cached));
  return out.set("completion_tokens_details", Json::object().set("reasoning_tokens", usage.reasoning));
}

std::string call_id(const ResponseHead& head, std::string_view prefix, int64_t choice, int64_t call) {
  const std::string digest = sha256_hex(fmt::format("{} {} {}", head.call_seed, choice, call));
  return std::string(prefix) + digest.substr(0, 24);
}

Json choice_json(const Tokenizer& tokenizer, const ResponseHead& head, const ChoiceText& choice) {
  Json out = Json::object();
  const bool is_chat = head.is_chat;
  out.set("index", choice.index);
  if (is_chat) {
    const Json reasoning = choice.has_reasoning ? Json(choice.reasoning) : Json();
    Json message = Json::object();
    message.set("role", "assistant");
    message.set("content", choice.calls.empty() || !choice.content.empty() ? Json(choice.content) : Json());
    message.set("reasoning_content", reasoning).set("reasoning", reasoning).set("refusal", Json());
    if (!choice.calls.empty()) message.set("tool_calls", calls_json(head, choice, false));
    out.set("message", std::move(message));
  } else {
    out.set("text", choice.content);
  }
  set_rest(tokenizer, is_chat, choice, out);
  return out;
}

Json chunk_choice_json(const Tokenizer& tokenizer, const ResponseHead& head, const ChoiceText& choice,
                       bool first) {
  Json out = Json::object();
  const bool is_chat = head.is_chat;
  out.set("index", choice.index);
  if (is_chat) {
    Json delta = Json::object();
    if (first) delta.set("role", "assistant").set("content", "");
    if (!choice.reasoning.empty()) {
      delta.set("reasoning_content", choice.reasoning).set("reasoning", choice.reasoning);
    } else if (!choice.content.empty()) {
      delta.set("content", choice.content);
    } else if (!choice.calls.empty()) {
      delta.set("tool_calls", calls_json(head, choice, true));
    }
    out.set("delta", std::move(delta));
  } else {
    out.set("text", choice.content);
  }
  set_rest(tokenizer, is_chat, choice, out);
  return out;
}

int64_t characters_of(const Tokenizer& tokenizer, const std::vector<TokenRecord>& tokens) {
  int64_t count = 0;
  for (const TokenRecord& t : tokens) {
    if (!is_hidden(tokenizer, t.token)) count += characters(tokenizer.piece_bytes(t.token));
  }
  return count;
}

std::string event_of(const Json& json) {
  return "data: " + json.dump() + "\n\n";
}

}  // namespace r1
