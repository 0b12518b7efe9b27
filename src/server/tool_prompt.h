// server/tool_prompt.h: how a model is told of functions and of calls in a conversation.
//
// A chat template that writes the functions, the calls and their results, in a syntax of tool_syntax.h, is left
// to it. What it does not write is put into the messages:
//   - The functions are described in the first system message, or, if the template writes no system messages,
//     before the first user's message.
//   - A model whose template writes no calls, or writes them in another syntax, gets the syntax `hermes`: the
//     calls are a part of the assistant's text, and results are a user's message in <tool_response>.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/model_bundle.h"
#include "server/tool_syntax.h"

namespace r1 {

// Texts that mean something in a conversation with tools. If they are tokens, only the server may write them.
inline constexpr std::string_view kToolMarkers[] = {"<tool_call>",
                                                    "</tool_call>",
                                                    "<tool_response>",
                                                    "</tool_response>",
                                                    "<｜tool▁calls▁begin｜>",
                                                    "<｜tool▁calls▁end｜>",
                                                    "<｜tool▁call▁begin｜>",
                                                    "<｜tool▁call▁end｜>",
                                                    "<｜tool▁sep｜>",
                                                    "<｜tool▁outputs▁begin｜>",
                                                    "<｜tool▁outputs▁end｜>",
                                                    "<｜tool▁output▁begin｜>",
                                                    "<｜tool▁output▁end｜>"};

class ToolPrompt {
 public:
  // Finds out what the model's template writes.
  explicit ToolPrompt(const ModelBundle& bundle);

  const ToolSyntax& syntax() const { return tool_syntax(style_); }
  ToolStyle style() const { return style_; }
  bool template_writes_functions() const { return writes_functions_; }
  bool template_writes_calls() const { return writes_calls_; }

  // Changes what the template does not write. Clears input.tools if the template is not to see them.
  void apply(ChatInput& input) const;

 private:
  void find_style(const ModelBundle& bundle);
  void write_calls(Json& messages) const;
  void describe(const Json& tools, Json& messages) const;

  ToolStyle style_ = ToolStyle::hermes;
  bool writes_functions_ = false, writes_calls_ = false, writes_system_ = false;
};

}  // namespace r1
