// server/prompt_builder.h: the token ids that a request asks the model with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "server/api_request.h"
#include "server/literal_text.h"
#include "server/tool_prompt.h"

namespace r1 {

struct BuiltPrompt {
  std::vector<int32_t> tokens;
  std::string text;            // before it was encoded
  bool in_thought = false;     // the answer begins inside a thought
  bool after_thought = false;  // the prompt ends with a closed thought
  int64_t drawn = 0;  // tokens of the answer's beginning, if the request gave one: RandomKey::first_draw
};

class PromptBuilder {
 public:
  // The bundle outlives this object.
  explicit PromptBuilder(const ModelBundle& bundle);

  // The conversation by the model's chat template. `no_thought`: the prompt ends with a closed, empty
  // thought, if the model thinks at all; `thought`: the template is asked for a thought, if it can be asked.
  // With continue_final_message the prompt ends inside the last message, which is written behind the opening
  // of an answer, so that the model goes on as if it had written it. Throws Error.
  BuiltPrompt chat(const ApiRequest& request, bool no_thought, bool thought) const;
  // A raw prompt: special tokens in it are tokens. Throws Error.
  BuiltPrompt raw(const ApiRequest::Prompt& prompt) const;

  // True if the model writes thoughts: its vocabulary or its template has the tag that ends one.
  bool thinks() const { return thinks_; }
  const Tokenizer& tokenizer() const { return bundle_.tokenizer; }
  const ToolPrompt& tools() const { return tools_; }

 private:
  const ModelBundle& bundle_;
  LiteralText literal_;
  ToolPrompt tools_;
  bool thinks_;
};

}  // namespace r1
