// text/chat_template.h: chat templates: the part of Jinja that published models use, rendered as Hugging Face
// does.
//
// Jinja 3.1 with trim_blocks, lstrip_blocks and loop controls, in the immutable sandbox; tojson as
// transformers has it. Not there: include, import, inheritance, recursive loops, * and ** arguments, format
// specifications, the generation tag. A render has a budget of steps, depth and output, so that a hostile
// template ends with an Error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "formats/json.h"

namespace r1 {

struct ChatInput {
  Json messages = Json::array();
  Json tools = {};  // null: none
  bool add_generation_prompt = true;
  std::string bos_token = {};
  std::string eos_token = {};
  Json extra = Json::object();      // further variables by name (enable_thinking, documents, ...)
  std::optional<int64_t> now = {};  // seconds since 1970 for strftime_now (UTC); nothing: the clock's
};

class ChatTemplate {
 public:
  // `source` names the template in errors: "SOURCE, line N: reason". Throws Error.
  explicit ChatTemplate(const std::string& text, std::string source = "chat template");
  // Throws Error; a template's own raise_exception gives "... the template refuses: MESSAGE". Safe from many
  // threads.
  std::string render(const ChatInput& input) const;

 private:
  struct Impl;
  std::string source_;
  std::shared_ptr<const Impl> impl_;
};

std::string render_chat(const std::string& template_text, const Json& messages, const Json& tools,
                        bool add_generation_prompt, const std::string& bos, const std::string& eos);

}  // namespace r1
