#include "text/chat_template.h"

#include <fmt/format.h>

#include <chrono>

#include "formats/shown.h"
#include "text/jinja/ast.h"
#include "text/jinja/renderer.h"

namespace r1 {

struct ChatTemplate::Impl {
  jinja::Block block;
};

namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20;

template <class Action>
auto with_source(const std::string& source, const Action& action) {
  try {
    return action();
  } catch (const jinja::TemplateError& error) {
    throw Error(fmt::format("{}, line {}: {}", source, std::max(error.line(), 1), shown(error.what())));
  }
}

int64_t clock_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& text, std::string source) : source_(std::move(source)) {
  if (text.size() > kMaxTemplateBytes) {
    throw Error(
        fmt::format("{}: {} bytes, at most {} are accepted", source_, text.size(), kMaxTemplateBytes));
  }
  impl_ =
      with_source(source_, [&] { return std::make_shared<const Impl>(Impl{jinja::parse_template(text)}); });
}

std::string ChatTemplate::render(const ChatInput& input) const {
  return with_source(source_, [&] {
    using jinja::Value;
    std::vector<std::pair<std::string, Value>> variables;
    variables.emplace_back("messages", Value::from_json(input.messages));
    variables.emplace_back("tools", Value::from_json(input.tools));
    variables.emplace_back("add_generation_prompt", Value::of(input.add_generation_prompt));
    variables.emplace_back("bos_token", Value::of(input.bos_token));
    variables.emplace_back("eos_token", Value::of(input.eos_token));
    for (const auto& [name, value] : input.extra.members())
      variables.emplace_back(name, Value::from_json(value));
    return jinja::Renderer(std::move(variables), input.now ? *input.now : clock_seconds()).run(impl_->block);
  });
}

std::string render_chat(const std::string& template_text, const Json& messages, const Json& tools,
                        bool add_generation_prompt, const std::string& bos, const std::string& eos) {
  return ChatTemplate(template_text)
      .render({.messages = messages,
               .tools = tools,
               .add_generation_prompt = add_generation_prompt,
               .bos_token = bos,
               .eos_token = eos});
}

}  // namespace r1
