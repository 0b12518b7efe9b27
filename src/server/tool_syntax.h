// server/tool_syntax.h: how a model writes calls of functions, and a reader of what it writes.
//
//   deepseek_r1   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```<｜tool▁call▁end｜>
//                 \n<｜tool▁call▁begin｜>...<｜tool▁calls▁end｜>
//   deepseek_v31  <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
//   hermes        <tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>\n<tool_call>...
//
// ARGUMENTS is a JSON object. Qwen's models write the last form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

enum class ToolStyle : uint8_t { deepseek_r1, deepseek_v31, hermes };

struct ToolSyntax {
  std::string open;        // before the first call
  std::string marker;      // the beginning of open + call_begin that opens calls wherever it is written
  std::string call_begin;  // before a name
  std::string name_end;    // between a name and its arguments
  std::string call_end;    // behind the arguments
  std::string between;     // between two calls
  std::string close;       // behind the last call
};

const ToolSyntax& tool_syntax(ToolStyle style);

// One call as the model writes it.
std::string call_text(const ToolSyntax& syntax, std::string_view name, std::string_view arguments);

// A part of a call. Parts of a call come in order; `begins` holds for the first one, which has the name.
struct ToolCallPart {
  int64_t index = 0;  // of the call in the answer
  bool begins = false;
  std::string name = {};
  std::string arguments = {};  // the next text of the arguments, as the model wrote it
};

// Takes the content of an answer in pieces of any size and tells text from calls. The result does not depend
// on how the content is cut. White space before the first call belongs to neither. Text that the syntax does
// not allow behind the marker is dropped; a grammar keeps it from being written.
class ToolCallReader {
 public:
  explicit ToolCallReader(const ToolSyntax& syntax) : syntax_(&syntax) {}

  struct Output {
    std::string text;
    std::vector<ToolCallPart> calls;
  };
  void feed(std::string_view text, Output& out);
  void flush(Output& out);  // the answer has ended

  int64_t complete_calls() const { return complete_; }
  bool in_calls() const { return state_ != State::text; }  // the marker was written

 private:
  enum class State : uint8_t { text, begin, name, arguments, end, after, over };

  bool advance(Output& out);
  bool read_text(Output& out);
  bool skip(std::string_view literal, State next);
  bool read_name(Output& out);
  bool read_arguments(Output& out);
  bool read_after();

  const ToolSyntax* syntax_;
  State state_ = State::text;
  std::string held_;      // not yet read
  std::string expected_;  // begin: what comes before the name
  int64_t begun_ = 0, complete_ = 0;
  int64_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace r1
