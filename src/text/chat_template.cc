#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "formats/shown.h"
#include "text/chat_form.h"
#include "text/jinja/ast.h"
#include "text/jinja/renderer.h"

namespace r1 {

// The budget of a rendering that finds out which forms the template reads. Such a rendering has at most three
// messages.
constexpr size_t kAskingSteps = 1'000'000;

struct ChatTemplate::Impl {
  explicit Impl(std::string name) : source(std::move(name)) {}
  std::string render(const ChatInput& input, size_t max_steps = jinja::Work::kMaxSteps) const;

  std::string source;
  jinja::Block block;
  ChatForm form{[this](const ChatInput& input) { return render(input, kAskingSteps); }};
};

namespace {

template <class Action>
auto with_source(const std::string& source, const Action& action) {
  try {
    return action();
  } catch (const jinja::TemplateError& error) {
    throw Error(fmt::format("{}, line {}: {}", source, std::max(error.line(), 1), shown(error.what())));
  }
}

// Returns the local time of the clock, counted as if it were UTC.
int64_t local_seconds() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  return localtime_r(&now, &parts) == nullptr ? now : now + parts.tm_gmtoff;
}

Json parsed_tools(const Json& tools) {
  if (!tools.is_string()) return tools;
  Json parsed = parse_json(tools.string(), fmt::format("{}: {}", tools.source(), shown(tools.path())));
  if (!parsed.is_array()) tools.fail("is a string that holds no JSON array");
  return parsed;
}

// Returns `name` of the row, or else of its kwargs, or null if neither has it.
Json take(const Json& row, const Json& kwargs, const char* name) {
  const Json* own = row.find(name);
  const Json* other = kwargs.is_object() ? kwargs.find(name) : nullptr;
  if (own != nullptr && other != nullptr)
    other->fail("is given beside chat_template_kwargs too: give it once");
  return own != nullptr ? *own : other != nullptr ? *other : Json();
}

void want_objects(const Json& list, const char* what) {
  if (list.is_null()) return;
  for (const Json& item : list.items()) {
    if (!item.is_object()) item.fail(fmt::format("is not {}: it must be an object", what));
  }
}

}  // namespace

std::string ChatTemplate::Impl::render(const ChatInput& input, size_t max_steps) const {
  return with_source(source, [&] {
    using jinja::Value;
    std::vector<std::pair<std::string, Value>> variables;
    const auto set = [&](const std::string& name, Value value) {
      const auto known = std::find_if(variables.begin(), variables.end(),
                                      [&](const auto& variable) { return variable.first == name; });
      if (known != variables.end()) {
        known->second = std::move(value);
      } else {
        variables.emplace_back(name, std::move(value));
      }
    };
    set("messages", Value::from_json(input.messages));
    set("tools", Value::from_json(input.tools));
    set("documents", Value::from_json(input.documents));
    set("add_generation_prompt", Value::of(input.add_generation_prompt));
    if (input.bos_token) set("bos_token", Value::of(*input.bos_token));
    if (input.eos_token) set("eos_token", Value::of(*input.eos_token));
    for (const auto& [name, value] : input.kwargs.members()) set(name, Value::from_json(value));
    return jinja::Renderer(std::move(variables), input.now ? *input.now : local_seconds(), max_steps)
        .run(block);
  });
}

ChatInput chat_input(const Json& row) {
  ChatInput input;
  const Json* kwargs = row.find("chat_template_kwargs");
  if (kwargs != nullptr && !kwargs->is_null()) {
    for (const auto& [name, value] : kwargs->members()) {
      if (name == "messages")
        value.fail("is not a template variable of its own: give it beside chat_template_kwargs");
      const bool is_field = std::any_of(std::begin(kChatFields), std::end(kChatFields),
                                        [&, &key = name](const char* field) { return key == field; });
      if (!is_field) input.kwargs.set(name, value);
    }
  }
  const Json none = Json::object();
  const Json& others = kwargs != nullptr && !kwargs->is_null() ? *kwargs : none;
  input.messages = row.at("messages");
  want_objects(input.messages, "a message");
  if (input.messages.size() == 0) input.messages.fail("is empty: a conversation has at least one message");
  input.tools = parsed_tools(take(row, others, "tools"));
  want_objects(input.tools, "a tool");
  input.documents = take(row, others, "documents");
  want_objects(input.documents, "a document");
  const Json prompt = take(row, others, "add_generation_prompt");
  if (!prompt.is_null()) input.add_generation_prompt = prompt.boolean();
  return input;
}

std::string text_content(const Json& content) {
  if (!content.is_array()) return content.string();
  std::string out;
  bool first = true;
  for (const Json& part : content.items()) {
    const Json* text = part.is_object() ? part.find("text") : &part;
    if (text == nullptr || !text->is_string()) {
      const std::string type = part.is_object() ? part.get_string_or("type", "") : "";
      part.fail(fmt::format("is a part{} without text, and only text can be read here",
                            type.empty() ? "" : " of type " + shown(type)));
    }
    if (!first) out += '\n';
    first = false;
    out += text->string();
  }
  return out;
}

ChatTemplate::ChatTemplate(const std::string& text, std::string source) {
  if (text.size() > kMaxTemplateBytes) {
    throw Error(fmt::format("{}: the template has {} bytes; at most {} are accepted", source, text.size(),
                            kMaxTemplateBytes));
  }
  auto impl = std::make_shared<Impl>(std::move(source));
  impl->block = with_source(impl->source, [&] { return jinja::parse_template(text); });
  impl_ = std::move(impl);
}

std::string ChatTemplate::render(const ChatInput& input) const {
  return impl_->render(input);
}

Json ChatTemplate::with_readable_content(const Json& messages) const {
  return impl_->form.with_readable_content(messages);
}

Json ChatTemplate::adapted(const Json& messages) const {
  return impl_->form.adapted(messages);
}

}  // namespace r1
