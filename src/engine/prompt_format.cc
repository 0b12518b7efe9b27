#include "engine/prompt_format.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/shown.h"
#include "text/think.h"

namespace r1 {
namespace {

using Template = PromptFormat::Template;
using Think = PromptFormat::Think;

// The template of DeepSeek-R1-Zero (arXiv 2501.12948, table 1), before and after the question.
constexpr std::string_view kR1ZeroBefore =
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
    "assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
    "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: ";
constexpr std::string_view kR1ZeroAfter = ". Assistant:";

constexpr std::array<std::string_view, 4> kTemplateNames = {"chat", "r1-zero", "raw", ""};
constexpr std::array<std::string_view, 3> kThinkNames = {"free", "open", "off"};

std::string_view name_of(Template form) {
  return kTemplateNames[static_cast<size_t>(form)];
}
std::string_view name_of(Think think) {
  return kThinkNames[static_cast<size_t>(think)];
}

// Returns the text between a prompt and a tag behind it. A chat template's prompt needs none.
std::string_view before_tag(Template form) {
  return form == Template::r1_zero ? " " : form == Template::raw ? "\n" : "";
}

ChatInput conversation(const PromptFormat& format, const ChatTemplates& templates,
                       std::string_view question) {
  ChatInput input;
  if (!format.system.empty())
    input.messages.push_back(Json::object().set("role", "system").set("content", format.system));
  input.messages.push_back(Json::object().set("role", "user").set("content", question));
  if (format.think != Think::free && reads_enable_thinking(templates))
    input.kwargs.set("enable_thinking", format.think == Think::open);
  return input;
}

std::string own_text(const ModelBundle& bundle, const PromptFormat& format, std::string_view question) {
  R1_CHECK(!format.own.empty(), "load_prompt_format was not called");
  ChatInput input = conversation(format, format.own, question);
  input.bos_token = bundle.bos;
  input.eos_token = bundle.eos;
  input.kwargs.set("question", question).set("system", format.system);
  return format.own.render_adapted(input);
}

// Returns the prompt's text as the template writes it, without an added tag.
std::string rendered(const ModelBundle& bundle, const PromptFormat& format, std::string_view question) {
  switch (format.form) {
    case Template::chat:
      return bundle.chat_template.empty()
                 ? std::string(question)
                 : bundle.chat_text(conversation(format, bundle.chat_template, question));
    case Template::r1_zero:
      return std::string(kR1ZeroBefore).append(question).append(kR1ZeroAfter);
    case Template::raw:
      return std::string(question);
    case Template::file:
      return own_text(bundle, format, question);
  }
  R1_CHECK(false, "a template of no kind");
  return {};
}

std::vector<int32_t> encoded(const ModelBundle& bundle, Template form, const std::string& text) {
  if (form == Template::chat && !bundle.chat_template.empty()) return bundle.tokenizer.encode(text, false);
  if (form == Template::file && !bundle.bos.empty() && text.starts_with(bundle.bos))
    return bundle.tokenizer.encode(text, false);
  return bundle.raw_prompt(text);
}

// Returns true if the template writes the system message.
bool writes_system(const ModelBundle& bundle, const PromptFormat& format) {
  constexpr const char* kAnyQuestion = "qvxz question";  // a text that no template contains
  const std::string with = rendered(bundle, format, kAnyQuestion);
  if (with.find(format.system) != std::string::npos) return true;
  PromptFormat without = format;
  without.system.clear();
  return rendered(bundle, without, kAnyQuestion) != with;
}

PromptFormat named_format(const std::string& name) {
  PromptFormat format;
  for (size_t i = 0; i + 1 < kTemplateNames.size(); ++i) {
    if (name == kTemplateNames[i]) {
      format.form = static_cast<Template>(i);
      return format;
    }
  }
  if (!name.ends_with(".jinja"))
    throw Error(fmt::format("is {}; it must be chat, r1-zero, raw, or a file whose name ends with .jinja",
                            shown(name)));
  format.form = Template::file;
  format.file = name;
  return format;
}

void check_system(const PromptFormat& format) {
  if (format.system.empty()) return;
  if (format.form == Template::r1_zero)
    throw Error("has no place in the template r1-zero: give a FILE.jinja with the whole text instead");
  if (format.form == Template::raw)
    throw Error("has no place in the template raw, which is the question alone: give a FILE.jinja instead");
}

}  // namespace

PromptFormat read_prompt_format(ConfigFile& file) {
  PromptFormat format;
  const std::string name = file.text_or("prompt.template", "chat");
  try {
    format = named_format(name);
  } catch (const Error& e) {
    file.fail("prompt.template", e.what());
  }
  if (format.form == Template::file) format.file = file.beside(name, "prompt.template").string();
  format.named = file.has("prompt.template");
  format.system = file.text_or("prompt.system", "");
  try {
    check_system(format);
  } catch (const Error& e) {
    file.fail("prompt.system", e.what());
  }
  const std::string think = file.choice_or("prompt.think", "free", {"free", "open", "off"});
  format.think = think == "open" ? Think::open : think == "off" ? Think::off : Think::free;
  return format;
}

PromptFormat prompt_format_of(const std::string& name, const std::string& system, const std::string& think) {
  const auto named = [](const char* option, const auto& action) {
    try {
      return action();
    } catch (const Error& e) {
      throw Error(fmt::format("{} {}", option, e.what()));
    }
  };
  PromptFormat format =
      named("--prompt-template", [&] { return named_format(name.empty() ? "chat" : name); });
  format.named = !name.empty();
  format.system = system;
  named("--system", [&] { check_system(format); });
  if (think.empty()) return format;
  for (size_t i = 0; i < kThinkNames.size(); ++i) {
    if (think == kThinkNames[i]) {
      format.think = static_cast<Think>(i);
      return format;
    }
  }
  throw Error(fmt::format("--think is {}; it must be open, free or off", shown(think)));
}

void load_prompt_format(PromptFormat& format) {
  if (format.form != Template::file) return;
  std::error_code none;
  if (const auto size = std::filesystem::file_size(format.file, none); !none && size > kMaxTemplateBytes) {
    throw Error(
        fmt::format("{}: has {} bytes; a template has at most {}", format.file, size, kMaxTemplateBytes));
  }
  format.own = ChatTemplates::of(read_file(format.file), format.file);
}

std::string check_prompt_format(const ModelBundle& bundle, const PromptFormat& format,
                                std::string_view name) {
  const bool lacks_template = format.form == Template::chat && bundle.chat_template.empty();
  if (lacks_template && (format.named || !format.system.empty())) {
    throw Error(fmt::format(
        "{}: has no chat template: set prompt.template to \"r1-zero\" (a base model), \"raw\" (the question "
        "alone) or a FILE.jinja of your own",
        name));
  }
  if (!format.system.empty() && !writes_system(bundle, format)) {
    throw Error(fmt::format(
        "{}: does not write a system message: leave prompt.system out, or set prompt.template to a "
        "FILE.jinja that writes {{{{ system }}}}",
        format.form == Template::file ? format.file : fmt::format("the chat template of {}", name)));
  }
  make_prompt(bundle, format, "1 + 1 = ?");  // throws for a template that fails, or that closes the thought
  if (!lacks_template) return "";
  return fmt::format(
      "{} has no chat template: its prompts are the bare questions (prompt.template = \"r1-zero\" writes the "
      "R1 paper's text around them, \"raw\" says that the bare question is meant)",
      name);
}

Json to_json(const PromptFormat& format) {
  if (format.is_default()) return {};
  Json json = Json::object();
  const bool is_file = format.form == Template::file;
  json.set("template", is_file ? std::filesystem::path(format.file).filename().string()
                               : std::string(name_of(format.form)));
  if (is_file) json.set("text", format.own.text());
  if (!format.system.empty()) json.set("system", format.system);
  json.set("think", name_of(format.think));
  return json;
}

bool reads_enable_thinking(const ChatTemplates& templates) {
  return templates.text().find("enable_thinking") != std::string::npos;
}

ChatPrompt make_prompt(const ModelBundle& bundle, const PromptFormat& format, std::string_view question) {
  if (format.is_default()) return bundle.chat_prompt(question);
  ChatPrompt prompt;
  prompt.text = rendered(bundle, format, question);
  const std::string_view before = before_tag(format.form);
  if (format.think == Think::open) {
    try {
      prompt.text = with_open_thought(std::move(prompt.text), before);
    } catch (const Error& e) {
      throw Error(
          fmt::format("prompt.think is open, but {}: set it to free or off, or set prompt.template "
                      "to a FILE.jinja of your own",
                      e.what()));
    }
  }
  if (format.think == Think::off) prompt.text = with_empty_thought(std::move(prompt.text), before);
  prompt.tokens = encoded(bundle, format.form, prompt.text);
  prompt.opening = format.think == Think::off ? kEmptyThought : thought_opening(prompt.text);
  return prompt;
}

}  // namespace r1
