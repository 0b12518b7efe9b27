// server/answer_structure.h: what a request demands of the form of its answers: response_format, grammars, and
// the functions that the model may call.
//
//   response_format   {"type": "text" | "json_object" | "json_schema", "json_schema": {"name", "schema", "strict"}};
//                     llama.cpp's {"type": "json_object", "schema": {...}}, too
//   grammar, json_schema                       llama.cpp's names: GBNF, a JSON Schema
//   guided_json, guided_grammar, guided_choice vLLM's: a JSON Schema, GBNF, a list of texts
//   guided_regex                               vLLM's: a regular expression that the whole answer matches
//   structured_outputs                         vLLM's {"json" | "grammar" | "choice" | "regex" | "json_object": ...}
//   tools, tool_choice, parallel_tool_calls    OpenAI's
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"
#include "server/request_fields.h"

namespace r1 {

inline constexpr int64_t kMostTools = 256;
inline constexpr size_t kMostToolName = 128;
inline constexpr size_t kMostGrammarBytes = size_t{1} << 20;  // of a schema or a grammar in a request

// The form of the answer's text.
struct AnswerStructure {
  enum class Kind : uint8_t { free, json_object, json_schema, gbnf, choice, regex };
  Kind kind = Kind::free;
  Json schema = {};                       // json_schema
  std::string grammar = {};               // gbnf; regex: the pattern
  std::vector<std::string> choices = {};  // choice
  std::string field = {};                 // of the request, for errors
};

struct ToolFunction {
  std::string name = {};
  Json parameters = {};    // a JSON Schema of an object
  bool is_strict = true;   // false: a schema that cannot be a grammar stands for any object
  std::string field = {};  // where the parameters are, for errors
};

struct ToolRequest {
  enum class Choice : uint8_t { none, automatic, required };
  std::vector<ToolFunction> functions = {};  // that may be called
  Choice choice = Choice::none;
  bool parallel = true;  // several calls in one answer

  bool may_call() const { return choice != Choice::none && !functions.empty(); }
};

// Throw Error that names the field.
AnswerStructure read_structure(RequestFields& fields);
AnswerStructure schema_structure(const Json& schema);
// `tools` of a request is left as it is for the chat template.
ToolRequest read_tools(RequestFields& fields);
// Reads {"name", "description", SCHEMA_FIELD, "strict"}.
ToolFunction read_tool_function(const Json& holder, const char* schema_field);
// Adds a function, which `holder` describes. Two functions must not have the same name.
void add_tool_function(ToolRequest& request, const ToolFunction& function, const Json& holder);
// Leaves only the functions with these names.
void keep_tool_functions(ToolRequest& request, const std::vector<const Json*>& names);

}  // namespace r1
