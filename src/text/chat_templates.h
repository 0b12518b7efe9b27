// text/chat_templates.h: the chat templates of a model, and the special tokens that they need.
//
// As transformers does, load() takes the files chat_template.jinja and additional_chat_templates/NAME.jinja
// first, then chat_template in tokenizer_config.json (a string, or a list of {"name", "template"}), and
// chat_template.json if there is nothing else. A conversation with tools takes the template named tool_use if
// there is one; every other conversation takes the one named default. A single template serves both.
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
  // Named templates with the special tokens that they need: {"bos_token": "<s>", ...}.
  struct Named {
    std::string name;  // "default", "tool_use", ...
    std::string text;
    std::string where;  // for messages
  };
  static ChatTemplates of(const std::vector<Named>& named, Json special_tokens);
  // The templates of a directory as they are written there, without parsing them.
  static std::vector<Named> named(const std::filesystem::path& directory);

  // The template files of a directory, relative to it; tokenizer_config.json is not among them.
  static std::vector<std::string> files(const std::filesystem::path& directory);

  // The text of all templates. Two models with equal text ask in the same words.
  const std::string& text() const { return text_; }

  bool empty() const { return templates_.empty(); }
  // Throws Error if there is no template, or if there are several and none is the default.
  const ChatTemplate& pick(bool has_tools) const;

  // Renders as transformers' apply_chat_template does: messages as they are, the model's special tokens
  // (bos_token, eos_token, pad_token, ...) as variables. Content given as a list of text parts is joined with
  // newlines if the template knows only strings.
  std::string render(const ChatInput& input) const;

  // The same for messages that were not written for this template: tool calls get the form that it reads
  // (arguments as an object or as a string of JSON; content null or ""). Generating and training use this.
  std::string render_adapted(const ChatInput& input) const;

 private:
  ChatInput with_special_tokens(const ChatInput& input) const;

  std::vector<std::pair<std::string, ChatTemplate>> templates_;
  std::string text_;
  Json special_tokens_ = Json::object();  // {"bos_token": "<s>", ...}
};

}  // namespace r1
