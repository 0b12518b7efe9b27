#include "server/text_routes.h"

#include "server/api_error.h"
#include "server/api_request.h"
#include "server/messages_request.h"
#include "server/request_fields.h"

namespace r1 {
namespace {

// The prompt of a conversation, and the names in its request.
BuiltPrompt conversation_prompt(const Serving& serving, const ApiRequest& request, TextAnswer& out) {
  out.model = request.model;
  out.unknown_fields = request.unknown_fields;
  const bool none = thought_limit(request, serving.context).value_or(1) == 0;
  try {
    return serving.builder.chat(request, none, request.effort.has_value() && !none);
  } catch (const Error& e) {
    throw api_error_of(e, "messages");
  }
}

BuiltPrompt conversation_prompt(const Serving& serving, const Json& body, TextAnswer& out) {
  return conversation_prompt(
      serving,
      read_chat_request(body, {.sampling = serving.bundle.sampling,
                               .vocab_size = serving.bundle.model.config().vocab_size}),
      out);
}

}  // namespace

TextAnswer count_route(const Serving& serving, const Json& body) {
  TextAnswer out;
  const ApiRequest request = read_messages_request(
      body, {.sampling = serving.bundle.sampling, .vocab_size = serving.bundle.model.config().vocab_size},
      true);
  const int64_t tokens = std::ssize(conversation_prompt(serving, request, out).tokens);
  out.body = Json::object().set("input_tokens", tokens);
  return out;
}

TextAnswer tokenize_route(const Serving& serving, const Json& body) {
  TextAnswer out;
  RequestFields fields(body);
  const bool strings = fields.boolean("return_token_strs", false);
  std::vector<int32_t> tokens;
  if (body.contains("messages")) {
    tokens = conversation_prompt(serving, body, out).tokens;
    std::erase(out.unknown_fields, "return_token_strs");
  } else {
    out.model = fields.text("model");
    std::optional<std::string> text = fields.text("prompt");
    if (!text) text = fields.text("content");
    if (!text) throw ApiError("prompt is missing", {.param = "prompt"});
    const bool special = fields.boolean("add_special_tokens", fields.boolean("add_special", true));
    tokens = serving.bundle.tokenizer.encode(*text, special);
    out.unknown_fields = fields.unknown();
  }
  out.body = Json::object();
  out.body.set("tokens", Json::array_of(tokens)).set("count", std::ssize(tokens));
  out.body.set("max_model_len", serving.context);
  if (!strings) return out;
  Json names = Json::array();
  for (const int32_t id : tokens) names.push_back(serving.bundle.tokenizer.token_of(id));
  out.body.set("token_strs", std::move(names));
  return out;
}

TextAnswer detokenize_route(const Serving& serving, const Json& body) {
  TextAnswer out;
  RequestFields fields(body);
  out.model = fields.text("model");
  const Json* list = fields.find("tokens");
  if (list == nullptr) throw ApiError("tokens is missing", {.param = "tokens"});
  std::vector<int32_t> tokens;
  for (const Json& item : list->items()) {
    const int64_t id = item.integer();
    if (id < 0 || id >= serving.bundle.model.config().vocab_size) item.fail("is no token id of the model");
    tokens.push_back(static_cast<int32_t>(id));
  }
  const std::string text = serving.bundle.tokenizer.decode(tokens);
  out.body = Json::object();
  out.body.set("prompt", text).set("content", text);
  out.unknown_fields = fields.unknown();
  return out;
}

TextAnswer template_route(const Serving& serving, const Json& body) {
  TextAnswer out;
  const std::string text = conversation_prompt(serving, body, out).text;
  out.body = Json::object().set("prompt", text);
  return out;
}

}  // namespace r1
