#include "text/chat_form.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/jinja/value.h"

namespace r1 {
namespace {

// Words that templates do not write by themselves.
constexpr const char* kFirst = "qvxz first";
constexpr const char* kSecond = "qvxz second";
constexpr const char* kMark = "qvxz_mark";  // used as a name
constexpr const char* kCalled = "qvxz_called";
constexpr const char* kValue = "qvxz value";

std::string python_json(const Json& json) {
  return jinja::to_json(jinja::Value::from_json(json), {});
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

Json message_of(const std::string& role, Json content) {
  return Json::object().set("role", role).set("content", std::move(content));
}

Json part_of(const char* text) {
  return Json::object().set("type", "text").set("text", text).set(kMark, true);
}

// Returns {"id", "type", "function"} with an id of nine letters and digits, which Mistral's templates
// require.
Json call_of(const char* name, Json arguments) {
  Json function = Json::object();
  function.set("name", name).set("arguments", std::move(arguments));
  return Json::object().set("id", "qvxz00001").set("type", "function").set("function", std::move(function));
}

Json calling_message(Json calls) {
  return message_of("assistant", nullptr).set("tool_calls", std::move(calls));
}

Json tool_result(Json content) {
  return message_of("tool", std::move(content)).set("tool_call_id", "qvxz00001").set("name", kCalled);
}

Json one_tool() {
  Json parameters = Json::object().set("type", "object").set("properties", Json::object());
  Json function = Json::object().set("name", "qvxz_tool").set("description", "qvxz");
  function.set("parameters", std::move(parameters));
  return Json::array().push_back(Json::object().set("type", "function").set("function", std::move(function)));
}

ChatInput asking(Json messages, Json tools = {}) {
  return {.messages = std::move(messages),
          .tools = std::move(tools),
          .bos_token = "<s>",
          .eos_token = "</s>",
          .now = 0};
}

const Json* calls_of(const Json& message) {
  const Json* calls = message.find("tool_calls");
  return calls != nullptr && calls->is_array() && calls->size() > 0 ? calls : nullptr;
}

// Returns the object that holds the arguments: the call's function, or the call itself.
const Json& function_of(const Json& call) {
  const Json* function = call.is_object() ? call.find("function") : nullptr;
  return function != nullptr && function->is_object() ? *function : call;
}

const Json* arguments_of(const Json& call) {
  const Json& function = function_of(call);
  return function.is_object() ? function.find("arguments") : nullptr;
}

Json with_arguments(const Json& call, bool as_object) {
  const Json* arguments = arguments_of(call);
  if (arguments == nullptr || arguments->is_object() == as_object) return call;
  Json changed;
  if (as_object) {
    if (!arguments->is_string()) return call;
    try {
      changed = parse_json(arguments->string(), "arguments");
    } catch (const Error&) {
      return call;  // the template receives what the row has
    }
    if (!changed.is_object()) return call;
  } else {
    changed = python_json(*arguments);
  }
  Json function = function_of(call);
  function.set("arguments", std::move(changed));
  if (&function_of(call) == &call) return function;
  return Json(call).set("function", std::move(function));
}

const char* content_form(const Json& message) {
  const Json* content = message.find("content");
  if (content == nullptr) return "missing";
  if (content->is_null()) return "null";
  return content->is_string() && content->string().empty() ? "empty" : "given";
}

// Returns `message` with its content in the empty form `form`.
Json without_content(const Json& message, std::string_view form) {
  if (form == "null") return Json(message).set("content", nullptr);
  if (form == "empty") return Json(message).set("content", "");
  if (form == "given") return message;
  Json out = Json::object();
  for (const auto& [name, value] : message.members()) {
    if (name != "content") out.set(name, value);
  }
  return out;
}

// Returns `message` with its thought under every name that templates read. reasoning_content is the usual
// name.
Json with_reasoning(const Json& message) {
  if (!message.is_object()) return message;
  const Json* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Json* value = message.find(name);
    if (reasoning == nullptr && value != nullptr && !value->is_null()) reasoning = value;
  }
  if (reasoning == nullptr) return message;
  Json out = message;
  const Json text = *reasoning;
  if (const Json* thinking = message.find("thinking"); thinking == nullptr || thinking->is_null())
    out.set("thinking", text);
  return out.set("reasoning_content", text);
}

}  // namespace

bool ChatForm::reads(const std::string& key, const std::function<bool()>& ask) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto at = known_.find(key); at != known_.end()) return at->second;
  }
  bool answer = false;
  try {
    answer = ask();
  } catch (const Error&) {
    answer = false;
  }
  const std::lock_guard lock(mutex_);
  return known_[key] = answer;
}

bool ChatForm::reads_content(const std::string& role, const Json& content) const {
  const Json user = message_of("user", "qvxz");
  Json messages = Json::array();
  if (role == "system" || role == "developer") {
    messages.push_back(message_of(role, content)).push_back(user);
  } else if (role == "tool") {
    const bool as_object = !reads_calls("null", false) && reads_calls("null", true);
    const Json arguments = Json::object().set("city", "qvxz");
    messages.push_back(user).push_back(calling_message(
        Json::array().push_back(call_of(kCalled, as_object ? arguments : Json(python_json(arguments))))));
    messages.push_back(tool_result(content));
  } else {
    if (role != "user") messages.push_back(user);
    messages.push_back(message_of(role, content));
  }
  ChatInput input = asking(std::move(messages), role == "tool" ? one_tool() : Json());
  input.add_generation_prompt = role != "assistant";
  const std::string text = render_(input);
  // If the template prints the list itself, the mark shows up in the text.
  return has(text, kFirst) && (content.is_string() || (has(text, kSecond) && !has(text, kMark)));
}

bool ChatForm::reads_text(const std::string& role) const {
  return reads("text " + role, [&] { return reads_content(role, kFirst); });
}

bool ChatForm::reads_parts(const std::string& role) const {
  return reads("parts " + role, [&] {
    Json parts = Json::array();
    return reads_content(role, parts.push_back(part_of(kFirst)).push_back(part_of(kSecond)));
  });
}

bool ChatForm::reads_calls(const std::string& content, bool as_object) const {
  return reads("calls " + content + (as_object ? " object" : " text"), [&] {
    const Json arguments = Json::object().set(kMark, kValue);
    Json calls = Json::array();
    calls.push_back(call_of(kCalled, as_object ? arguments : Json(python_json(arguments))));
    Json calling = calling_message(std::move(calls));
    calling = content == "given" ? calling.set("content", kFirst) : without_content(calling, content);
    Json messages = Json::array();
    messages.push_back(message_of("user", "qvxz")).push_back(std::move(calling));
    const std::string text = render_(asking(std::move(messages), one_tool()));
    const bool quoted = has(text, fmt::format("\\\"{}", kMark)) || has(text, fmt::format("'{}'", kMark));
    return has(text, kCalled) && has(text, kMark) && has(text, kValue) && !quoted && !has(text, "None");
  });
}

void ChatForm::adapt_calls(Json& message) const {
  const Json* calls = calls_of(message);
  const std::string given = content_form(message);
  const Json* arguments = arguments_of(calls->at(size_t{0}));
  const bool object_given = arguments != nullptr && arguments->is_object();
  std::vector<std::string> contents{given};
  if (given != "given") contents.insert(contents.end(), {"null", "empty", "missing"});
  for (const std::string& content : contents) {
    for (const bool as_object : {object_given, !object_given}) {
      if (!reads_calls(content, as_object)) continue;
      Json changed = Json::array();
      for (const Json& call : calls->items()) changed.push_back(with_arguments(call, as_object));
      message = without_content(message, content);
      message.set("tool_calls", std::move(changed));
      return;
    }
  }
}

Json ChatForm::with_readable_content(const Json& messages) const {
  if (!messages.is_array()) return messages;
  Json out = Json::array();
  for (const Json& message : messages.items()) {
    const Json* content = message.is_object() ? message.find("content") : nullptr;
    const bool join =
        content != nullptr && content->is_array() && !reads_parts(message.get_string_or("role", "user"));
    out.push_back(join ? Json(message).set("content", text_content(*content)) : message);
  }
  return out;
}

Json ChatForm::adapted(const Json& messages) const {
  Json out = Json::array();
  const Json readable = with_readable_content(messages);
  for (const Json& message : readable.items()) {
    Json changed = with_reasoning(message);
    if (changed.is_object() && calls_of(changed) != nullptr) adapt_calls(changed);
    const Json* content = changed.is_object() ? changed.find("content") : nullptr;
    if (content != nullptr && content->is_string() && !content->string().empty()) {
      const std::string role = changed.get_string_or("role", "user");
      if (!reads_text(role) && reads_parts(role)) {
        Json part = Json::object().set("type", "text").set("text", content->string());
        changed.set("content", Json::array().push_back(std::move(part)));
      }
    }
    out.push_back(std::move(changed));
  }
  return out;
}

}  // namespace r1
