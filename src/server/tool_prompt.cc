#include "server/tool_prompt.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace r1 {
namespace {

// Words that templates do not write by themselves.
constexpr const char* kSaid = "qvxz said";
constexpr const char* kTool = "qvxz_tool";
constexpr const char* kArgument = "qvxz_argument";
constexpr const char* kResult = "qvxz result";

Json message_of(const char* role, Json content) {
  return Json::object().set("role", role).set("content", std::move(content));
}

Json probe_tools() {
  Json parameters = Json::object().set("type", "object").set("properties", Json::object());
  Json function = Json::object().set("name", kTool).set("description", "qvxz");
  function.set("parameters", std::move(parameters));
  return Json::array().push_back(Json::object().set("type", "function").set("function", std::move(function)));
}

// Returns what the template writes, or "" if it refuses the conversation.
std::string written(const ModelBundle& bundle, Json messages, Json tools) {
  try {
    ChatInput input{.messages = std::move(messages), .tools = std::move(tools)};
    input.now = 0;
    return bundle.chat_text(input);
  } catch (const Error&) {
    return {};
  }
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

const Json* calls_in(const Json& message) {
  const Json* calls = message.find("tool_calls");
  return calls != nullptr && calls->is_array() && calls->size() > 0 ? calls : nullptr;
}

std::string arguments_text(const Json& function) {
  const Json& arguments = function.at("arguments");
  return arguments.is_string() ? arguments.string() : arguments.dump();
}

std::string content_text(const Json& message) {
  const Json* content = message.find("content");
  return content == nullptr || content->is_null() ? "" : text_content(*content);
}

Json without_calls(const Json& message, std::string content) {
  Json out = Json::object();
  for (const auto& [name, value] : message.members()) {
    if (name != "tool_calls") out.set(name, value);
  }
  return out.set("content", std::move(content));
}

}  // namespace

ToolPrompt::ToolPrompt(const ModelBundle& bundle) {
  if (bundle.chat_template.empty()) return;
  Json messages = Json::array();
  messages.push_back(message_of("system", kSaid)).push_back(message_of("user", "qvxz"));
  writes_system_ = has(written(bundle, std::move(messages), {}), kSaid);
  find_style(bundle);
}

void ToolPrompt::find_style(const ModelBundle& bundle) {
  Json function = Json::object().set("name", kTool);
  function.set("arguments", Json::object().set(kArgument, "qvxz value").dump());
  Json call = Json::object().set("id", "qvxz00001").set("type", "function").set("function", function);
  Json messages = Json::array();
  messages.push_back(message_of("user", "qvxz"));
  messages.push_back(message_of("assistant", "").set("tool_calls", Json::array().push_back(call)));
  messages.push_back(message_of("tool", kResult).set("tool_call_id", "qvxz00001").set("name", kTool));
  const std::string text = written(bundle, messages, probe_tools());
  if (!has(text, kResult) || !has(text, kArgument)) return;
  for (const ToolStyle style : {ToolStyle::deepseek_r1, ToolStyle::deepseek_v31, ToolStyle::hermes}) {
    const ToolSyntax& known = tool_syntax(style);
    if (!has(text, known.call_begin + kTool + known.name_end + "{") || !has(text, known.call_end)) continue;
    style_ = style;
    writes_calls_ = true;
    break;
  }
  if (!writes_calls_) return;
  Json question = Json::array();
  question.push_back(message_of("user", "qvxz"));
  writes_functions_ = has(written(bundle, std::move(question), probe_tools()), kTool);
}

// Puts calls into the assistant's text, and results into users' messages.
void ToolPrompt::write_calls(Json& messages) const {
  Json out = Json::array();
  std::string results;
  const auto write_results = [&] {
    if (!results.empty()) out.push_back(message_of("user", std::exchange(results, {})));
  };
  for (const Json& message : messages.items()) {
    if (message.get_string_or("role", "") == "tool") {
      if (!results.empty()) results += "\n";
      results += fmt::format("<tool_response>\n{}\n</tool_response>", content_text(message));
      continue;
    }
    write_results();
    const Json* calls = calls_in(message);
    if (calls == nullptr) {
      out.push_back(message);
      continue;
    }
    std::string text = content_text(message);
    for (const Json& call : calls->items()) {
      const Json& function = call.at("function");
      if (!text.empty()) text += "\n";
      text += call_text(syntax(), function.get_string("name"), arguments_text(function));
    }
    out.push_back(without_calls(message, std::move(text)));
  }
  write_results();
  messages = std::move(out);
}

void ToolPrompt::describe(const Json& tools, Json& messages) const {
  const ToolSyntax& s = syntax();
  std::string text = "# Tools\n\nYou can call these functions, whose parameters are JSON Schemas:\n<tools>";
  for (const Json& tool : tools.items()) {
    const Json* function = tool.find("function");
    text += "\n" + (function == nullptr ? tool : *function).dump();
  }
  text += "\n</tools>\n\nTo call one, write exactly this:\n";
  text += s.open + call_text(s, "NAME", "{\"ARGUMENT\": VALUE}") + s.close;
  Json out = Json::array();
  bool done = false;
  const std::string_view role = writes_system_ ? "system" : "user";
  if (writes_system_ &&
      (messages.size() == 0 || messages.at(size_t{0}).get_string_or("role", "") != "system")) {
    out.push_back(message_of("system", text));
    done = true;
  }
  for (const Json& message : messages.items()) {
    if (done || message.get_string_or("role", "") != role) {
      out.push_back(message);
      continue;
    }
    done = true;
    const std::string said = content_text(message);
    out.push_back(
        Json(message).set("content", role == "system" ? said + "\n\n" + text : text + "\n\n" + said));
  }
  if (!done)
    throw Error(
        "the messages have no user's message, which the description of the tools would be put before");
  messages = std::move(out);
}

void ToolPrompt::apply(ChatInput& input) const {
  if (!writes_calls_) write_calls(input.messages);
  if (input.tools.is_null() || writes_functions_) return;
  describe(input.tools, input.messages);
  input.tools = {};
}

}  // namespace r1
