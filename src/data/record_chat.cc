#include "data/record_chat.h"

#include <fmt/format.h>

#include "base/error.h"
#include "formats/shown.h"
#include "text/chat_template.h"
#include "text/think.h"

namespace r1 {
namespace {

Json message(std::string_view role, Json content) {
  return Json::object().set("role", role).set("content", std::move(content));
}

bool is_assistant(const Json& message) {
  return message.get_string_or("role", "") == "assistant";
}

// Returns the message's text, or "" if its content is not text.
std::string text_of(const Json& message) {
  const Json* content = message.find("content");
  if (content == nullptr || content->is_null()) return "";
  try {
    return text_content(*content);
  } catch (const Error&) {
    return "";
  }
}

std::string whole_answer(const Json& message) {
  const std::string content = text_of(message);
  for (const char* field : {"reasoning_content", "reasoning", "thinking"}) {
    const Json* thought = message.find(field);
    if (thought != nullptr && thought->is_string() && !thought->string().empty())
      return fmt::format("{}\n{}\n{}\n\n{}", kThinkOpen, thought->string(), kThinkClose, content);
  }
  return content;
}

// Fills the record's question, answer and gold from its conversation, unless the row's own fields have given
// them.
void take_conversation(Record& record) {
  const std::vector<Json>& messages = record.messages.items();
  size_t asked = messages.size();
  if (is_assistant(messages.back())) {
    --asked;
    if (record.answer.empty()) record.answer = whole_answer(messages.back());
    const std::string mark = marked_answer(text_of(messages.back()));
    if (record.gold.is_null() && !mark.empty()) record.gold = mark;
  }
  if (record.question.empty() && asked > 0 && messages[asked - 1].get_string_or("role", "") == "user")
    record.question = text_of(messages[asked - 1]);
}

void check_messages(const Json& messages) {
  if (messages.size() == 0) messages.fail("is empty");
  for (const Json& item : messages.items()) {
    if (!item.is_object()) item.fail("is not a message: it must be an object");
    (void)item.get_string("role");
  }
}

void take_tools(const Json& row, Record& record) {
  const Json* tools = row.find("tools");
  if (tools == nullptr || tools->is_null()) return;
  record.tools = *tools;
  if (!tools->is_string()) return;
  if (tools->string().find_first_not_of(" \t\r\n") == std::string::npos) {
    record.tools = Json();
    return;
  }
  record.tools = parse_json(tools->string(), fmt::format("{}: {}", tools->source(), tools->path()));
  if (!record.tools.is_array()) tools->fail("is a string that holds no JSON array");
}

void take_system(const Json& row, Json& messages) {
  const std::string system = row.get_string_or("system", "");
  if (!system.empty()) messages.push_back(message("system", system));
}

// Parses a call {"name", "arguments"} that is written as text.
Json called(const Json& value) {
  const Json call = parse_json(value.string(), fmt::format("{}: {}", value.source(), value.path()));
  if (!call.is_object()) value.fail("is no function call: it must hold an object with name and arguments");
  Json function = Json::object().set("name", call.get_string("name"));
  if (const Json* arguments = call.find("arguments")) function.set("arguments", *arguments);
  Json calls = Json::array();
  calls.push_back(Json::object().set("type", "function").set("function", std::move(function)));
  return message("assistant", Json()).set("tool_calls", std::move(calls));
}

Json share_gpt_turn(const Json& turn) {
  if (!turn.is_object()) turn.fail("is no turn: it must be an object with from and value");
  const std::string& from = turn.get_string("from");
  const Json& value = turn.at("value");
  (void)value.string();
  if (from == "human" || from == "user") return message("user", value);
  if (from == "gpt" || from == "assistant" || from == "chatgpt" || from == "bing" || from == "bard" ||
      from == "model")
    return message("assistant", value);
  if (from == "system") return message("system", value);
  if (from == "tool" || from == "observation" || from == "function_response") return message("tool", value);
  if (from == "function_call") return called(value);
  turn.at("from").fail(fmt::format(
      "is \"{}\"; it must be human, user, gpt, assistant, system, tool, observation or function_call",
      shown(from)));
}

}  // namespace

bool has_context(const Json& messages) {
  if (!messages.is_array()) return false;
  size_t before = messages.size();
  if (before > 0 && is_assistant(messages.items().back())) --before;
  return before > 1;
}

bool read_messages(const Json& row, Record& record) {
  const Json* messages = row.find("messages");
  if (messages == nullptr) messages = row.find("conversations");
  if (messages == nullptr || !messages->is_array()) return false;
  check_messages(*messages);
  record.format = "messages";
  record.messages = *messages;
  take_tools(row, record);
  take_conversation(record);
  return true;
}

bool read_share_gpt(const Json& row, Record& record) {
  const Json* turns = row.find("conversations");
  if (turns == nullptr || !turns->is_array()) return false;
  if (turns->size() == 0) turns->fail("is empty");
  if (turns->at(0).is_object() && turns->at(0).contains("role")) return false;
  record.format = "ShareGPT";
  Json messages = Json::array();
  take_system(row, messages);
  for (const Json& turn : turns->items()) messages.push_back(share_gpt_turn(turn));
  record.messages = std::move(messages);
  take_tools(row, record);
  take_conversation(record);
  return true;
}

bool read_alpaca(const Json& row, Record& record) {
  if (!row.contains("instruction")) return false;
  record.format = "Alpaca";
  record.question = row.get_string("instruction");
  const std::string input = row.get_string_or("input", "");
  if (!input.empty()) record.question += (record.question.empty() ? "" : "\n\n") + input;
  record.answer = row.get_string_or("output", "");
  Json messages = Json::array();
  take_system(row, messages);
  const Json* history = row.find("history");
  if (history != nullptr && !history->is_null()) {
    for (const Json& pair : history->items()) {
      if (!pair.is_array() || pair.size() != 2) pair.fail("is no turn: it must be [question, answer]");
      messages.push_back(message("user", pair.at(size_t{0}).string()));
      messages.push_back(message("assistant", pair.at(size_t{1}).string()));
    }
  }
  if (messages.size() == 0) return true;
  messages.push_back(message("user", record.question));
  if (!record.answer.empty()) messages.push_back(message("assistant", record.answer));
  record.messages = std::move(messages);
  return true;
}

bool read_message_prompt(const Json& row, Record& record) {
  const Json* prompt = row.find("prompt");
  if (prompt == nullptr || !prompt->is_array()) return false;
  check_messages(*prompt);
  record.format = "prompt of messages";
  record.messages = *prompt;
  const Json* completion = row.find("completion");
  if (completion != nullptr && completion->is_array()) {
    check_messages(*completion);
    for (const Json& item : completion->items()) record.messages.push_back(item);
  } else if (completion != nullptr && completion->is_string()) {
    record.messages.push_back(message("assistant", completion->string()));
  }
  take_tools(row, record);
  take_conversation(record);
  return true;
}

}  // namespace r1
