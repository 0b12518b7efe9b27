// text/chat_template.h: one chat template: the part of Jinja that published models use, rendered as Hugging
// Face does. The templates of a model directory are in text/chat_templates.h.
//
// Jinja 3.1 with trim_blocks, lstrip_blocks and loop controls, in the immutable sandbox. tojson,
// strftime_now, raise_exception and the tag generation behave as in transformers. Not supported: include,
// import and inheritance; the globals cycler, joiner and lipsum; the filters filesizeformat, pprint, random,
// striptags, urlize, wordwrap and xmlattr; arithmetic beyond 64 bits. A render has a budget of steps, depth
// and output, so that a hostile template ends with an Error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "formats/json.h"

namespace r1 {

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

struct ChatInput {
  Json messages = Json::array();
  Json tools = {};      // null: none
  Json documents = {};  // null: none
  bool add_generation_prompt = true;
  // The tokens' text. If unset, ChatTemplates fills in the model's own; in a lone template they are
  // undefined.
  std::optional<std::string> bos_token = {};
  std::optional<std::string> eos_token = {};
  Json kwargs = Json::object();  // further variables by name (enable_thinking, ...); they win over all others
  std::optional<int64_t> now =
      {};  // local time for strftime_now, in seconds since 1970-01-01; nothing: the clock's
};

// The fields of a row that chat_input reads, for callers that check the others.
inline constexpr const char* kChatFields[] = {"messages", "tools", "documents", "add_generation_prompt",
                                              "chat_template_kwargs"};

// Reads {"messages", "tools", "documents", "add_generation_prompt", "chat_template_kwargs"}. messages is
// required; the others may be missing or null. tools may also be a string that holds the JSON array, as in
// some data sets. Throws Error that names the field.
ChatInput chat_input(const Json& row);

// Returns content that is text, or a list of text parts, joined by newlines. Throws Error for anything else.
std::string text_content(const Json& content);

class ChatTemplate {
 public:
  // `source` names the template in errors: "SOURCE, line N: reason". Throws Error.
  explicit ChatTemplate(const std::string& text, std::string source = "chat template");
  // Passes every value to the template as it is. Throws Error; the template's own raise_exception gives "...
  // the template refuses: MESSAGE". Safe from many threads.
  std::string render(const ChatInput& input) const;

  // Messages in the forms that this template reads; see text/chat_form.h.
  Json with_readable_content(const Json& messages) const;
  Json adapted(const Json& messages) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace r1
