// engine/prompt_format.h: how a question becomes a prompt.
//
//   [prompt]
//   template = "chat"      the model's chat template (the default)
//              "r1-zero"   the plain text of the R1 paper, for base models without a chat template
//              "raw"       the question alone
//              FILE.jinja  a template of one's own: {{ question }} and {{ system }}, or the variables of a
//                          chat template ({{ messages }}, ...)
//   system   = "..."       a system message; for "chat" and FILE.jinja
//   think    = "free"      the prompt ends as the template ends it (the default)
//              "open"      the prompt ends inside a thought
//              "off"       the prompt ends with a closed, empty thought
//
// If the template reads the variable enable_thinking, it is true for "open" and false for "off". Then the tag
// is written, unless the template has written it.
//
// Special tokens: a chat template writes them itself. Before every other prompt, the tokenizer puts what its
// post-processor puts before a text, unless the template of a file has written the begin-of-text token.
#pragma once

#include <string>
#include <string_view>

#include "engine/model_bundle.h"
#include "formats/config_file.h"

namespace r1 {

struct PromptFormat {
  enum class Template : uint8_t { chat, r1_zero, raw, file };
  enum class Think : uint8_t { free, open, off };

  Template form = Template::chat;
  bool named = false;  // the user asked for this template: "chat" then wants a model that has one
  std::string file;    // its path
  std::string system;
  Think think = Think::free;
  ChatTemplates own;  // the template of `file`, once load_prompt_format has read it

  bool is_default() const { return form == Template::chat && system.empty() && think == Think::free; }
};

// Reads [prompt]. Opens no other file.
PromptFormat read_prompt_format(ConfigFile& file);

// The same from options of the command line; an empty string is the default. Throws Error that begins with
// the option's name.
PromptFormat prompt_format_of(const std::string& name, const std::string& system, const std::string& think);

// Reads the template's file, if there is one. Throws Error.
void load_prompt_format(PromptFormat& format);

// Throws Error for a format that this model cannot follow, or that would leave out the system message.
// Returns a line for the user if the model has no chat template and none was asked for, else "".
// `name` is the model's.
std::string check_prompt_format(const ModelBundle& bundle, const PromptFormat& format, std::string_view name);

// A format's settings, with the name and the text of its file, for keys and for records; null for the default.
Json to_json(const PromptFormat& format);

// One question as a prompt. For think = "off", opening is kEmptyThought: verifiers read it before the
// response. Throws Error.
ChatPrompt make_prompt(const ModelBundle& bundle, const PromptFormat& format, std::string_view question);

}  // namespace r1
