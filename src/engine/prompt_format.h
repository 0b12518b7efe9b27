// engine/prompt_format.h: makes a prompt from a question.
//
//   [prompt]
//   template = "chat"      the model's chat template (the default)
//              "r1-zero"   the plain text of the R1 paper, for base models without a chat template
//              "raw"       the question alone
//              FILE.jinja  the user's own template: {{ question }} and {{ system }}, or the variables of a
//                          chat template ({{ messages }}, ...)
//   system   = "..."       a system message; for "chat" and FILE.jinja
//   think    = "free"      the prompt ends as the template ends it (the default)
//              "open"      the prompt ends inside a thought
//              "off"       the prompt ends with a closed, empty thought
//
// If the template reads the variable enable_thinking, it is true for "open" and false for "off". A tag that
// the template has not written itself is added behind the prompt.
//
// A chat template writes special tokens itself. Every other prompt begins with the tokens that the
// tokenizer's post-processor puts before a text, unless the template of a file has written the begin-of-text
// token.
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
  bool named = false;  // the user named this template; for "chat" the model must then have one
  std::string file;    // the path of the template
  std::string system;
  Think think = Think::free;
  ChatTemplates own;  // the template of `file`, once load_prompt_format has read it

  bool is_default() const { return form == Template::chat && system.empty() && think == Think::free; }
};

// Reads [prompt]. Opens no other file.
PromptFormat read_prompt_format(ConfigFile& file);

// Does the same for options of the command line; an empty string is the default. Throws Error that begins
// with the option's name.
PromptFormat prompt_format_of(const std::string& name, const std::string& system, const std::string& think);

// Reads the template's file if the format has one. Throws Error if that fails.
void load_prompt_format(PromptFormat& format);

// Throws Error if the model cannot follow the format, or if the template would leave out the system message.
// Returns a line for the user if the model has no chat template and the user named none, else "". `name` is
// the model's name.
std::string check_prompt_format(const ModelBundle& bundle, const PromptFormat& format, std::string_view name);

// Returns a format's settings, with the name and the text of its file, for keys and for records. Returns null
// for the default.
Json to_json(const PromptFormat& format);

// True if the templates read the variable enable_thinking.
bool reads_enable_thinking(const ChatTemplates& templates);

// Makes the prompt of one question. For think = "off" its opening is kEmptyThought, which verifiers read
// before the response. Throws Error if the template fails.
ChatPrompt make_prompt(const ModelBundle& bundle, const PromptFormat& format, std::string_view question);

}  // namespace r1
