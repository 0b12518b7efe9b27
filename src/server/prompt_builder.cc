#include "server/prompt_builder.h"

#include <utility>

#include "base/error.h"
#include "engine/prompt_format.h"
#include "text/think.h"

namespace r1 {
namespace {

// The text of an assistant's message, with its thought in front as a model writes it.
std::string answer_begun(const Json& message) {
  const Json* content = message.find("content");
  const std::string said = content == nullptr || content->is_null() ? "" : text_content(*content);
  const std::string thought = message.get_string_or("reasoning_content", "");
  if (thought.empty()) return said;
  std::string text = std::string(kThinkOpen) + "\n" + thought;
  if (!said.empty()) text += "\n" + std::string(kThinkClose) + "\n\n" + said;
  return text;
}

// True if the text ends with </think>, white space aside.
bool closes_thought(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1).ends_with(kThinkClose);
}

}  // namespace

PromptBuilder::PromptBuilder(const ModelBundle& bundle)
    : bundle_(bundle),
      literal_(bundle.tokenizer),
      tools_(bundle),
      thinks_(bundle.tokenizer.id_of(kThinkClose).has_value() ||
              bundle.chat_template.text().find(kThinkClose) != std::string::npos) {}

BuiltPrompt PromptBuilder::chat(const ApiRequest& request, bool no_thought, bool thought) const {
  LiteralText::Marked marked = literal_.mark(request.chat.messages, request.chat.tools);
  ChatInput input = request.chat;
  input.messages = std::move(marked.messages);
  input.tools = std::move(marked.tools);
  std::string begun;
  if (request.continue_final_message) {
    begun = answer_begun(input.messages.items().back());
    Json earlier = Json::array();
    for (size_t i = 0; i + 1 < input.messages.size(); ++i) earlier.push_back(input.messages.at(i));
    if (earlier.size() == 0) throw Error("continue_final_message needs a message before the last one");
    input.messages = std::move(earlier);
    input.add_generation_prompt = true;
  }
  const bool asks = (no_thought || thought) && !bundle_.chat_template.empty() &&
                    reads_enable_thinking(bundle_.chat_template);
  if (asks && !input.kwargs.contains("enable_thinking")) input.kwargs.set("enable_thinking", thought);
  BuiltPrompt prompt;
  if (bundle_.chat_template.empty()) {
    // The prompt is that of `r1 run`: one user's text, after the tokenizer's beginning of a text.
    if (!begun.empty()) throw Error("the model has no chat template: it cannot go on with a message");
    ChatPrompt plain = bundle_.chat(request.chat);
    prompt.tokens = bundle_.tokenizer.encode(plain.text, true, Tokenizer::Special::as_text);
    prompt.text = std::move(plain.text);
    prompt.in_thought = !plain.opening.empty();
    return prompt;
  }
  tools_.apply(input);
  prompt.text = bundle_.chat_text(input);
  if (no_thought && thinks_) prompt.text = with_empty_thought(std::move(prompt.text), "");
  const std::string opening(thought_opening(prompt.text));
  prompt.in_thought = !opening.empty();
  if (!begun.empty()) {
    const std::string_view rest = rest_of_response(begun, opening);
    prompt.drawn = std::ssize(literal_.encode(bundle_.tokenizer, std::string(rest), marked.mark));
    const auto split = find_thought(begun, prompt.in_thought);
    prompt.in_thought = split.has_value() && !split->closed;
    prompt.text += rest;
  }
  prompt.after_thought = closes_thought(prompt.text);
  prompt.tokens = literal_.encode(bundle_.tokenizer, prompt.text, marked.mark);
  if (!marked.mark.empty()) {
    for (size_t at = 0; (at = prompt.text.find(marked.mark, at)) != std::string::npos;)
      prompt.text.erase(at, marked.mark.size());
  }
  return prompt;
}

BuiltPrompt PromptBuilder::raw(const ApiRequest::Prompt& prompt) const {
  BuiltPrompt built;
  if (const auto* tokens = std::get_if<std::vector<int32_t>>(&prompt)) {
    built = {.tokens = *tokens, .text = bundle_.tokenizer.decode(*tokens)};
  } else {
    const auto& text = std::get<std::string>(prompt);
    built = {.tokens = bundle_.raw_prompt(text), .text = text};
  }
  built.in_thought = !thought_opening(built.text).empty();
  return built;
}

}  // namespace r1
