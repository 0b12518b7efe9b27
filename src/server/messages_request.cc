#include "server/messages_request.h"

#include <fmt/format.h>

#include "engine/sampling_config.h"
#include "engine/sampling_settings.h"
#include "formats/shown.h"
#include "server/request_fields.h"

namespace r1 {
namespace {

Json chat_message(const char* role, Json content) {
  return Json::object().set("role", role).set("content", std::move(content));
}

void append_line(std::string& text, std::string_view more) {
  if (!text.empty() && !more.empty()) text += '\n';
  text += more;
}

[[noreturn]] void refuse_block(const Json& block, const std::string& where) {
  block.at("type").fail(
      fmt::format("is {}; {} of this server's models", shown(block.get_string("type")), where));
}

// A text, or a list of text blocks.
std::string text_blocks(const Json& content) {
  if (content.is_string()) return content.string();
  std::string text;
  for (const Json& block : content.items()) {
    if (block.get_string("type") != "text") refuse_block(block, "only text is read here");
    append_line(text, block.get_string("text"));
  }
  return text;
}

void read_user(const Json& content, Json& out) {
  if (content.is_string()) {
    out.push_back(chat_message("user", content.string()));
    return;
  }
  std::string text;
  bool has_text = false;
  for (const Json& block : content.items()) {
    const std::string& type = block.get_string("type");
    if (type == "text") {
      append_line(text, block.get_string("text"));
      has_text = true;
    } else if (type == "tool_result") {
      const Json* result = block.find("content");
      std::string said = result == nullptr || result->is_null() ? "" : text_blocks(*result);
      if (block.get_bool_or("is_error", false)) said.insert(0, "Error: ");
      out.push_back(
          chat_message("tool", std::move(said)).set("tool_call_id", block.get_string("tool_use_id")));
    } else {
      refuse_block(block,
                   "text and tool_result are the blocks of a user's message that can be read by the models");
    }
  }
  if (has_text) out.push_back(chat_message("user", std::move(text)));
}

void read_assistant(const Json& content, Json& out) {
  if (content.is_string()) {
    out.push_back(chat_message("assistant", content.string()));
    return;
  }
  std::string text, thought;
  Json calls = Json::array();
  for (const Json& block : content.items()) {
    const std::string& type = block.get_string("type");
    if (type == "text") {
      append_line(text, block.get_string("text"));
    } else if (type == "thinking") {
      append_line(thought, block.get_string("thinking"));
    } else if (type == "tool_use") {
      const Json& input = block.at("input");
      input.members();  // throws if it is no object
      Json function = Json::object().set("name", block.get_string("name")).set("arguments", input.dump());
      Json call = Json::object().set("id", block.get_string("id")).set("type", "function");
      calls.push_back(std::move(call.set("function", std::move(function))));
    } else if (type != "redacted_thinking") {
      refuse_block(block,
                   "text, thinking and tool_use are the blocks of an assistant's message that can be read by "
                   "the models");
    }
  }
  Json message = chat_message("assistant", std::move(text));
  if (!thought.empty()) message.set("reasoning_content", std::move(thought));
  if (calls.size() > 0) message.set("tool_calls", std::move(calls));
  out.push_back(std::move(message));
}

void read_messages(RequestFields& fields, const Json& body, ApiRequest& r) {
  if (const Json* system = fields.find("system")) {
    const std::string text = text_blocks(*system);
    if (!text.empty()) r.chat.messages.push_back(chat_message("system", text));
  }
  const Json& messages = body.at("messages");
  fields.know("messages");
  if (messages.size() == 0) messages.fail("is empty: a conversation has at least one message");
  for (const Json& message : messages.items()) {
    if (!message.is_object()) message.fail("is not a message: it must be an object");
    const std::string& role = message.get_string("role");
    const Json& content = message.at("content");
    if (!content.is_string() && !content.is_array()) content.fail("must be a string or an array of blocks");
    if (role == "user") {
      read_user(content, r.chat.messages);
    } else if (role == "assistant") {
      read_assistant(content, r.chat.messages);
    } else {
      message.at("role").fail(fmt::format("is {}; it must be user or assistant", shown(role)));
    }
  }
  const Json& last = messages.items().back();
  r.continue_final_message = last.get_string("role") == "assistant";
  if (r.continue_final_message && messages.size() == 1)
    last.at("role").fail("must be user: an answer that is gone on with needs a message before it");
  if (r.continue_final_message && r.chat.messages.items().back().contains("tool_calls"))
    last.at("content").fail("ends with tool_use, which must be answered by a tool_result");
}

void read_message_thinking(RequestFields& fields, bool counts, ApiRequest& r) {
  const Json* thinking = fields.find("thinking");
  const std::string type = thinking == nullptr ? "disabled" : thinking->get_string("type");
  if (type == "disabled") {
    r.effort = Effort::none;
  } else if (type == "enabled") {
    const Json& budget = thinking->at("budget_tokens");
    const int64_t tokens = budget.integer();
    const int64_t most = counts ? kMostAnswerTokens : *r.max_tokens - 1;
    if (tokens < 1 || tokens > most)
      budget.fail(fmt::format("is {}; it must be at least 1 and less than max_tokens", tokens));
    r.max_thinking_tokens = tokens;
  } else if (type != "adaptive") {
    thinking->at("type").fail(fmt::format("is {}; it must be enabled, adaptive or disabled", shown(type)));
  }
}

void read_message_tools(RequestFields& fields, ApiRequest& r) {
  if (const Json* tools = fields.find("tools")) {
    r.chat.tools = Json::array();
    for (const Json& tool : tools->items()) {
      if (tool.get_string_or("type", "custom") != "custom")
        tool.at("type").fail("must be custom: tools that the server would run are not supported");
      const ToolFunction function = read_tool_function(tool, "input_schema");
      Json written = Json::object().set("name", function.name);
      if (const Json* description = tool.find("description")) written.set("description", *description);
      written.set("parameters",
                  tool.contains("input_schema") ? tool.at("input_schema") : function.parameters);
      r.chat.tools.push_back(Json::object().set("type", "function").set("function", std::move(written)));
      add_tool_function(r.tools, function, tool);
    }
  }
  using Choice = ToolRequest::Choice;
  r.tools.choice = r.tools.functions.empty() ? Choice::none : Choice::automatic;
  if (const Json* choice = fields.find("tool_choice")) {
    const std::string& type = choice->get_string("type");
    const bool must = type == "any" || type == "tool";
    if (type == "none") {
      r.tools.choice = Choice::none;
    } else if (type != "auto" && !must) {
      choice->at("type").fail(fmt::format("is {}; it must be auto, any, tool or none", shown(type)));
    }
    if (must && r.tools.functions.empty()) choice->fail("demands a call, but tools has no tool");
    if (must) r.tools.choice = Choice::required;
    if (type == "tool") keep_tool_functions(r.tools, {&choice->at("name")});
    r.tools.parallel = !choice->get_bool_or("disable_parallel_tool_use", false);
  }
  if (!r.tools.may_call()) r.chat.tools = {};
}

void read_format(RequestFields& fields, ApiRequest& r) {
  const Json* config = fields.find("output_config");
  const Json* format = config == nullptr ? nullptr : config->find("format");
  if (format == nullptr || format->is_null()) return;
  if (format->get_string("type") != "json_schema")
    format->at("type").fail(fmt::format("is {}; it must be json_schema", shown(format->get_string("type"))));
  r.structure = schema_structure(format->at("schema"));
}

}  // namespace

ApiRequest read_messages_request(const Json& body, const RequestDefaults& defaults, bool counts) {
  RequestFields fields(body);
  ApiRequest r;
  r.is_chat = r.is_messages = true;
  r.model = fields.text("model");
  r.max_tokens = fields.integer("max_tokens", 1, kMostAnswerTokens);
  if (!r.max_tokens && !counts) body.at("max_tokens").fail("must be a number of tokens");
  r.stream = fields.boolean("stream", false);
  r.sampling = defaults.sampling;
  r.sampling.max_length = 0;
  read_sampling(body, defaults.vocab_size, r.sampling);
  for (const std::string& name : sampling_fields()) fields.know(name);
  if (const Json* seed = fields.find("seed")) r.seed = static_cast<uint64_t>(seed->integer());
  if (const Json* stop = fields.find("stop_sequences")) read_stop(*stop, r.stop);
  r.ignore_eos = fields.boolean("ignore_eos", false);
  r.detect_loops = fields.boolean("detect_loops", !r.ignore_eos);
  read_message_thinking(fields, counts, r);
  read_message_tools(fields, r);
  read_format(fields, r);
  read_messages(fields, body, r);
  fields.know("metadata");  // it names the client's user, whom this server does not tell apart
  for (std::string& name : fields.unknown()) r.unknown_fields.push_back(std::move(name));
  return r;
}

}  // namespace r1
