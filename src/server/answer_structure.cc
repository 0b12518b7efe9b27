#include "server/answer_structure.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/shown.h"

namespace r1 {
namespace {

std::string field_of(const Json& value) {
  return value.path();
}

void check_size(const Json& field, size_t bytes) {
  if (bytes > kMostGrammarBytes)
    field.fail(fmt::format("has {} bytes; at most {} are accepted", bytes, kMostGrammarBytes));
}

AnswerStructure text_structure(AnswerStructure::Kind kind, const Json& field) {
  const std::string& text = field.string();
  if (text.empty()) field.fail("is empty; leave it out for a free answer");
  check_size(field, text.size());
  return {.kind = kind, .grammar = text, .field = field_of(field)};
}

AnswerStructure grammar_structure(const Json& grammar) {
  return text_structure(AnswerStructure::Kind::gbnf, grammar);
}

AnswerStructure regex_structure(const Json& pattern) {
  return text_structure(AnswerStructure::Kind::regex, pattern);
}

AnswerStructure choice_structure(const Json& list) {
  AnswerStructure out{.kind = AnswerStructure::Kind::choice, .field = field_of(list)};
  size_t bytes = 0;
  for (const Json& item : list.items()) {
    if (item.string().empty()) item.fail("is empty; a choice has at least one character");
    bytes += item.string().size();
    out.choices.push_back(item.string());
  }
  if (out.choices.empty()) list.fail("is empty; it must have at least one text");
  check_size(list, bytes);
  return out;
}

AnswerStructure json_structure(const Json& field) {
  return {.kind = AnswerStructure::Kind::json_object, .field = field_of(field)};
}

AnswerStructure format_structure(const Json& format) {
  const std::string& type = format.get_string("type");
  if (type == "text") return {};
  if (type == "json_object") {
    const Json* schema = format.find("schema");
    return schema != nullptr && !schema->is_null() ? schema_structure(*schema) : json_structure(format);
  }
  if (type != "json_schema")
    format.at("type").fail(fmt::format("is {}; it must be text, json_object or json_schema", shown(type)));
  const Json& holder = format.at("json_schema");
  holder.get_string_or("name", "");
  holder.get_bool_or("strict", true);  // a schema is always kept strictly
  return schema_structure(holder.at("schema"));
}

AnswerStructure outputs_structure(const Json& outputs) {
  AnswerStructure found;
  for (const auto& [name, value] : outputs.members()) {
    const bool is_off = value.is_null() || (value.is_bool() && !value.boolean());
    if (is_off) continue;
    AnswerStructure one;
    if (name == "json") {
      one = schema_structure(value);
    } else if (name == "grammar") {
      one = grammar_structure(value);
    } else if (name == "choice") {
      one = choice_structure(value);
    } else if (name == "regex") {
      one = regex_structure(value);
    } else if (name == "json_object") {
      value.boolean();
      one = json_structure(value);
    } else {
      value.fail("is not supported; json, grammar, choice, regex and json_object are");
    }
    if (found.kind != AnswerStructure::Kind::free)
      value.fail("is the second form of the answer; give one of them");
    found = std::move(one);
  }
  return found;
}

bool is_tool_name(const std::string& name) {
  return !name.empty() && name.size() <= kMostToolName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

ToolFunction read_function(const Json& tool) {
  if (!tool.is_object()) tool.fail("is not a tool: it must be an object");
  const std::string& type = tool.get_string("type");
  if (type != "function")
    tool.at("type").fail(fmt::format("is {}; only tools of type function are supported", shown(type)));
  return read_tool_function(tool.at("function"), "parameters");
}

// The name in {"type": "function", "function": {"name"}}.
const Json& named_function(const Json& choice) {
  const std::string& type = choice.get_string("type");
  if (type != "function") choice.at("type").fail(fmt::format("is {}; it must be function", shown(type)));
  return choice.at("function").at("name");
}

ToolRequest::Choice mode_of(const Json& mode) {
  const std::string& name = mode.string();
  if (name == "none") return ToolRequest::Choice::none;
  if (name == "auto") return ToolRequest::Choice::automatic;
  if (name == "required") return ToolRequest::Choice::required;
  mode.fail(fmt::format("is {}; it must be none, auto, required or a function", shown(name)));
}

void read_choice(const Json& choice, ToolRequest& request) {
  if (choice.is_string()) {
    request.choice = mode_of(choice);
    if (request.choice == ToolRequest::Choice::required && request.functions.empty())
      choice.fail("is required, but tools has no function");
    return;
  }
  if (!choice.is_object()) choice.fail("must be none, auto, required or an object that names a function");
  if (choice.get_string("type") != "allowed_tools") {
    request.choice = ToolRequest::Choice::required;
    keep_tool_functions(request, {&named_function(choice)});
    return;
  }
  const Json& allowed = choice.at("allowed_tools");
  request.choice = mode_of(allowed.at("mode"));
  std::vector<const Json*> names;
  for (const Json& tool : allowed.at("tools").items()) names.push_back(&named_function(tool));
  if (names.empty()) allowed.at("tools").fail("is empty; it must have at least one function");
  keep_tool_functions(request, names);
}

}  // namespace

AnswerStructure schema_structure(const Json& schema) {
  if (!schema.is_object() && !schema.is_bool()) schema.fail("must be a JSON Schema, which is an object");
  check_size(schema, schema.dump().size());
  return {.kind = AnswerStructure::Kind::json_schema, .schema = schema, .field = field_of(schema)};
}

ToolFunction read_tool_function(const Json& holder, const char* schema_field) {
  ToolFunction out;
  out.name = holder.get_string("name");
  if (!is_tool_name(out.name)) {
    holder.at("name").fail(
        fmt::format("is {}; a name has 1 to {} letters, digits, underscores, hyphens and points",
                    shown(out.name), kMostToolName));
  }
  holder.get_string_or("description", "");
  out.is_strict = holder.get_bool_or("strict", true);
  const Json* parameters = holder.find(schema_field);
  if (parameters == nullptr || parameters->is_null()) {
    out.parameters = Json::object().set("type", "object").set("properties", Json::object());
    out.field = field_of(holder);
    return out;
  }
  if (!parameters->is_object()) parameters->fail("must be a JSON Schema, which is an object");
  check_size(*parameters, parameters->dump().size());
  out.field = field_of(*parameters);
  out.parameters = *parameters;
  const Json* kind = parameters->find("type");
  if (kind == nullptr) {
    out.parameters.set("type", "object");
  } else if (!kind->is_string() || kind->string() != "object") {
    kind->fail("must be \"object\": the arguments of a function are an object");
  }
  return out;
}

void add_tool_function(ToolRequest& request, const ToolFunction& function, const Json& holder) {
  if (std::ssize(request.functions) >= kMostTools)
    holder.fail(fmt::format("is one tool too many; at most {} are accepted", kMostTools));
  if (std::ranges::find(request.functions, function.name, &ToolFunction::name) != request.functions.end())
    holder.at("name").fail(
        fmt::format("is {}, which is the name of an earlier tool, too", shown(function.name)));
  request.functions.push_back(function);
}

void keep_tool_functions(ToolRequest& request, const std::vector<const Json*>& names) {
  std::vector<ToolFunction> kept;
  for (const Json* name : names) {
    const auto at = std::ranges::find(request.functions, name->string(), &ToolFunction::name);
    if (at == request.functions.end())
      name->fail(fmt::format("is {}; tools has no function of that name", shown(name->string())));
    kept.push_back(*at);
  }
  request.functions = std::move(kept);
}

AnswerStructure read_structure(RequestFields& fields) {
  AnswerStructure found;
  std::string first;
  const auto take = [&](const char* name, AnswerStructure (*read)(const Json&)) {
    const Json* field = fields.find(name);
    if (field == nullptr || (field->is_bool() && !field->boolean())) return;
    AnswerStructure one = read(*field);
    if (one.kind == AnswerStructure::Kind::free) return;
    if (!first.empty())
      field->fail(fmt::format("cannot be given together with {}: an answer has one form", first));
    first = name;
    found = std::move(one);
  };
  take("response_format", format_structure);
  take("json_schema", schema_structure);
  take("grammar", grammar_structure);
  take("guided_json", schema_structure);
  take("guided_grammar", grammar_structure);
  take("guided_choice", choice_structure);
  take("guided_regex", regex_structure);
  take("structured_outputs", outputs_structure);
  return found;
}

ToolRequest read_tools(RequestFields& fields) {
  ToolRequest request;
  if (const Json* tools = fields.find("tools")) {
    for (const Json& tool : tools->items()) {
      const ToolFunction function = read_function(tool);
      add_tool_function(request, function, tool.at("function"));
    }
  }
  request.choice = request.functions.empty() ? ToolRequest::Choice::none : ToolRequest::Choice::automatic;
  if (const Json* choice = fields.find("tool_choice")) read_choice(*choice, request);
  request.parallel = fields.boolean("parallel_tool_calls", true);
  return request;
}

}  // namespace r1
