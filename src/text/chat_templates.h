// text/chat_templates.h: the chat templates of a model, and what they need of it.
//
// Where they are, as transformers looks for them: chat_template in tokenizer_config.json (a string, or a list
// of
// {"name", "template"}); and, before it, the files chat_template.jinja and
// additional_chat_templates/NAME.jinja; chat_template.json if there is nothing else. A conversation with
// tools takes the template named tool_use if there is one, every other conversation takes default; a template
// without siblings is the template.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "text/chat_template.h"

namespace r1 {

class ChatTemplates {
 public:
  ChatTemplates() = default;  // none
  // A directory without templates gives none. Throws Error.
  static ChatTemplates load(const std::filesystem::path& directory);
  // One template, which names no special tokens.
  static ChatTemplates of(const std::string& text, const std::string& source);

  // The template files of a directory, relative to it; tokenizer_config.json is not among them.
  static std::vector<std::string> files(const std::filesystem::path& directory);

  // All templates' text: two models with the same one ask in the same words.
  const std::string& text() const { return text_; }

  bool empty() const { return templates_.empty(); }
  // Throws Error where there is none, or several without a default.
  const ChatTemplate& pick(bool has_tools) const;

  // What transformers' apply_chat_template gives: messages as they are, the model's special tokens
  // (bos_token, eos_token, pad_token, ...) as variables. Content given as a list of text parts is joined with
  // newlines for a template that knows only strings.
  std::string render(const ChatInput& input) const;

  // The same for messages that were not written for this template: tool calls get the form that it reads
  // (arguments as an object or as a string of JSON; content null or ""). For generating and training.
  std::string render_adapted(const ChatInput& input) const;

 private:
  ChatInput with_special_tokens(const ChatInput& input) const;

  std::vector<std::pair<std::string, ChatTemplate>> templates_;
  std::string text_;
  Json special_tokens_ = Json::object();  // {"bos_token": "<s>", ...}
};

}  // namespace r1
