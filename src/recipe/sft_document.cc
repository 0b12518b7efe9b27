#include "recipe/sft_document.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "text/think.h"

namespace r1 {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";
constexpr const char* kAnyAnswer = "qvxz answer";  // stands for an answer; no template writes it by itself

// The message that is learnt.
struct AnswerParts {
  std::string text;     // thought and content, as a model would write them
  std::string thought;  // trimmed; "": none
  std::string content;  // what follows the thought, trimmed
  bool has_calls = false;
};

// </think> without <think> before it.
bool closes_a_thought(std::string_view text) {
  const size_t close = text.find(kThinkClose);
  return close != std::string_view::npos && text.substr(0, close).find(kThinkOpen) == std::string_view::npos;
}

std::string reasoning_of(const Json& message) {
  for (const char* field : {"reasoning_content", "reasoning", "thinking"}) {
    const Json* value = message.find(field);
    if (value != nullptr && !value->is_null()) return value->string();
  }
  return {};
}

AnswerParts answer_of(const Json& message) {
  AnswerParts answer;
  const Json* calls = message.find("tool_calls");
  answer.has_calls = calls != nullptr && calls->is_array() && calls->size() > 0;
  const Json* content = message.find("content");
  if (content != nullptr && !content->is_null()) answer.text = text_content(*content);
  const std::string reasoning = reasoning_of(message);
  if (!reasoning.empty()) {
    if (find_thought(answer.text))
      message.fail("has reasoning_content, and <think> in content: give the thought once");
    answer.text = fmt::format("{}\n{}\n{}\n\n{}", kThinkOpen, trim(reasoning), kThinkClose, answer.text);
  } else if (closes_a_thought(answer.text)) {
    answer.text = fmt::format("{}\n{}", kThinkOpen, answer.text);  // of a prompt that had opened the thought
  }
  const ThinkSplit parts = split_think(answer.text);
  answer.thought = parts.thought;
  answer.content = trim(parts.answer);
  if (answer.thought.empty() && answer.content.empty() && !answer.has_calls)
    message.fail("is the answer to learn, and it has neither content nor tool_calls");
  return answer;
}

ChatInput conversation_of(const Json& row) {
  if (!row.is_object()) row.fail("is no object");
  if (row.contains("messages")) {
    for (const char* other : {"question", "response"}) {
      if (const Json* field = row.find(other)) field->fail("is given beside messages: give one of the two");
    }
    ChatInput input = chat_input(row);
    const Json& last = input.messages.items().back();
    if (last.get_string_or("role", "") != "assistant")
      row.at("messages").fail("does not end with an assistant's message");
    return input;
  }
  if (!row.contains("question") && !row.contains("response"))
    row.fail("has neither messages nor question and response");
  Json asked = Json::object().set("role", "user").set("content", row.get_string("question"));
  Json answered = Json::object().set("role", "assistant").set("content", row.get_string("response"));
  Json whole = Json::object();
  whole.set("messages", Json::array().push_back(std::move(asked)).push_back(std::move(answered)));
  for (const char* field : {"tools", "documents", "chat_template_kwargs"}) {
    if (const Json* value = row.find(field)) whole.set(field, *value);
  }
  return chat_input(whole);
}

ChatInput first_messages(const ChatInput& input, size_t count) {
  ChatInput out = input;
  out.messages = Json::array();
  for (size_t i = 0; i < count; ++i) out.messages.push_back(input.messages.at(i));
  return out;
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool holds_in_order(std::string_view text, std::string_view first, std::string_view second) {
  const size_t at = text.find(first);
  return at != std::string_view::npos && holds(text.substr(at + first.size()), second);
}

// `text` without the tag that `opening` has written already; if it has no thought, the opened one is closed.
std::string after_opening(std::string_view text, std::string_view opening) {
  const bool has_thought = find_thought(text).has_value() || closes_a_thought(text);
  if (opening.empty() || has_thought) return std::string(rest_of_response(text, opening));
  return fmt::format("\n{}\n\n{}", kThinkClose,
                     text.substr(std::min(text.find_first_not_of(kSpaces), text.size())));
}

// Returns the text that the template writes behind an answer.
std::string end_of_turn(const ChatInput& before, const ModelBundle& bundle) {
  ChatInput input = before;
  input.messages.push_back(Json::object().set("role", "assistant").set("content", kAnyAnswer));
  input.add_generation_prompt = false;
  const std::string text = bundle.chat_text(input);
  const size_t at = text.rfind(kAnyAnswer);
  return at == std::string::npos ? "" : text.substr(at + std::string_view(kAnyAnswer).size());
}

// How the template may be given the last message: as the row has it, or with the thought in a field of its
// own.
std::vector<Json> versions_of(const Json& message, const AnswerParts& answer) {
  std::vector<Json> versions{message};
  if (!answer.thought.empty() && reasoning_of(message).empty())
    versions.push_back(Json(message).set("content", answer.content).set("reasoning_content", answer.thought));
  return versions;
}

bool has_one_tag_at_most(std::string_view text) {
  return text.find(kThinkOpen) == text.rfind(kThinkOpen);
}

// Returns the text behind the prompt.
std::string completion_of(const ChatInput& before, const Json& message, const ChatPrompt& prompt,
                          const AnswerParts& answer, const ModelBundle& bundle) {
  const std::string_view start(prompt.text.data(), prompt.text.size() - prompt.opening.size());
  for (const Json& version : versions_of(message, answer)) {
    ChatInput whole = before;
    whole.messages.push_back(version);
    whole.add_generation_prompt = false;
    const std::string text = bundle.chat_text(whole);
    if (!text.starts_with(start)) continue;
    const std::string_view rest = std::string_view(text).substr(start.size());
    if (!holds_in_order(rest, answer.thought, answer.content)) continue;
    std::string completion = after_opening(rest, prompt.opening);
    if (has_one_tag_at_most(completion) || !has_one_tag_at_most(answer.text)) return completion;
  }
  if (answer.has_calls) {
    message.fail(
        "calls tools, but the chat template does not write this message behind the prompt of the "
        "conversation before it");
  }
  return after_opening(answer.text, prompt.opening) + end_of_turn(before, bundle);
}

bool ends_a_turn(const Tokenizer& tokenizer, int32_t token) {
  const std::string text = tokenizer.piece_bytes(token);
  return tokenizer.is_special(token) && text != kThinkOpen && text != kThinkClose;
}

// Behind the answer are special tokens and white space. The turn ends at the first stop token among them, or
// at the last special token if none is a stop token.
void end_turn(std::vector<int32_t>& tokens, const ModelBundle& bundle) {
  const auto is_stop = [&](int32_t token) {
    return std::find(bundle.stop_tokens.begin(), bundle.stop_tokens.end(), token) != bundle.stop_tokens.end();
  };
  size_t tail = tokens.size();
  size_t last_special = tokens.size();
  for (; tail > 0; --tail) {
    const int32_t token = tokens[tail - 1];
    const bool special = is_stop(token) || ends_a_turn(bundle.tokenizer, token);
    if (!special && !trim(bundle.tokenizer.piece_bytes(token)).empty()) break;
    if (special && last_special == tokens.size()) last_special = tail - 1;
  }
  const auto stop = std::find_if(tokens.begin() + static_cast<std::ptrdiff_t>(tail), tokens.end(), is_stop);
  if (stop != tokens.end()) {
    tokens.erase(stop + 1, tokens.end());
  } else if (last_special < tokens.size()) {
    tokens.resize(last_special + 1);
  } else {
    const auto eos = bundle.tokenizer.id_of(bundle.eos);
    tokens.push_back(eos && is_stop(*eos) ? *eos : bundle.stop_tokens.front());
  }
}

// The beginning of a text, as far as no template would rewrite it.
std::string_view beginning(std::string_view text) {
  const std::string_view all = trim(text);
  std::string_view part =
      all.substr(0, std::min(all.find_first_of("\n\r\t\"'\\<>&{}"), all.size())).substr(0, 40);
  while (!part.empty() && part.size() < all.size() && (all[part.size()] & 0xC0) == 0x80)
    part.remove_suffix(1);
  return trim(part);
}

void add_once(std::vector<std::string>& names, std::string name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
}

const Json* name_of_function(const Json& item) {
  const Json* function = item.find("function");
  const Json& holder = function != nullptr && function->is_object() ? *function : item;
  const Json* name = holder.find("name");
  return name != nullptr && name->is_string() ? name : nullptr;
}

// Messages, calls and tools of which nothing is found in the text.
std::vector<std::string> left_out_of(const ChatInput& input, const std::string& text) {
  std::vector<std::string> out;
  for (const Json& message : input.messages.items()) {
    const Json* content = message.find("content");
    if (content != nullptr && !content->is_null()) {
      const ThinkSplit parts = split_think(text_content(*content));
      if (!holds(text, beginning(parts.answer)))
        add_once(out, "messages of role " + message.get_string_or("role", "(none)"));
    }
    const Json* calls = message.find("tool_calls");
    if (calls == nullptr || !calls->is_array()) continue;
    for (const Json& call : calls->items()) {
      const Json* name = call.is_object() ? name_of_function(call) : nullptr;
      if (name != nullptr && !holds(text, name->string())) add_once(out, "tool_calls");
    }
  }
  if (input.tools.is_array()) {
    for (const Json& tool : input.tools.items()) {
      const Json* name = name_of_function(tool);
      if (name != nullptr && !holds(text, name->string())) add_once(out, "tools");
    }
  }
  return out;
}

// Without a chat template: the messages' text as it stands, and the answer.
ChatPrompt plain_prompt(const ChatInput& before, const AnswerParts& answer, const ModelBundle& bundle) {
  if (answer.has_calls || !before.tools.is_null())
    throw Error("the model has no chat template, and so no way to write tools and tool calls");
  ChatPrompt prompt;
  for (const Json& message : before.messages.items()) prompt.text += text_content(message.at("content"));
  prompt.tokens = bundle.raw_prompt(prompt.text);
  prompt.opening = thought_opening(prompt.text);
  return prompt;
}

// One answer: the prompt that the model gets when it is asked for it, and its tokens.
struct AnsweredTurn {
  ChatPrompt prompt;
  std::string completion;
  std::vector<int32_t> answer;  // the completion with the end of the turn
};

// Message `index` of the row's conversation as an answer to the messages before it.
AnsweredTurn answered_turn(const Json& row, const ChatInput& input, size_t index, const ModelBundle& bundle) {
  const Json& message = input.messages.at(index);
  const AnswerParts answer = answer_of(message);
  ChatInput before = first_messages(input, index);
  before.add_generation_prompt = true;
  AnsweredTurn turn;
  if (bundle.chat_template.empty()) {
    turn.prompt = plain_prompt(before, answer, bundle);
    turn.completion = after_opening(answer.text, turn.prompt.opening);
  } else {
    if (index == 0) row.fail("has an answer to nothing: a message must come before it");
    turn.prompt = bundle.chat(before);
    turn.completion = completion_of(before, message, turn.prompt, answer, bundle);
  }
  turn.answer = bundle.tokenizer.encode_continuation(turn.completion);
  end_turn(turn.answer, bundle);
  return turn;
}

// The documents of a conversation, turn after turn.
class ConversationDocuments {
 public:
  explicit ConversationDocuments(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // Appends the turn to the last document if its prompt goes on with that document's text, else begins a new
  // document.
  void add(const AnsweredTurn& turn) {
    const std::string& prompt = turn.prompt.text;
    if (!documents_.empty() && prompt.starts_with(text_)) {
      append(tokenizer_.encode_continuation(prompt.substr(text_.size())));
    } else {
      documents_.push_back({.tokens = turn.prompt.tokens, .trained = {}});
    }
    const int64_t begin = std::ssize(documents_.back().tokens);
    append(turn.answer);
    documents_.back().trained.push_back({begin, std::ssize(documents_.back().tokens)});
    text_ = prompt;
    for (const int32_t token : turn.answer) text_ += tokenizer_.piece_bytes(token);
  }
  std::vector<Document> take() { return std::move(documents_); }

 private:
  void append(const std::vector<int32_t>& more) {
    std::vector<int32_t>& tokens = documents_.back().tokens;
    tokens.insert(tokens.end(), more.begin(), more.end());
  }

  const Tokenizer& tokenizer_;
  std::vector<Document> documents_;
  std::string text_;  // of the last document
};

struct NamedLossOn {
  LossOn loss_on;
  std::string_view name;
};
constexpr NamedLossOn kLossOn[] = {
    {LossOn::answer, "answer"}, {LossOn::assistant, "assistant"}, {LossOn::all, "all"}};

}  // namespace

std::string_view name_of(LossOn loss_on) {
  return std::ranges::find(kLossOn, loss_on, &NamedLossOn::loss_on)->name;
}

LossOn read_loss_on(ConfigFile& file, LossOn fallback) {
  const std::string name =
      file.choice_or("data.loss_on", name_of(fallback), {kLossOn[0].name, kLossOn[1].name, kLossOn[2].name});
  return std::ranges::find(kLossOn, name, &NamedLossOn::name)->loss_on;
}

SftDocument sft_document(const Json& row, const ModelBundle& bundle, LossOn loss_on) {
  const ChatInput input = conversation_of(row);
  const size_t last = input.messages.size() - 1;
  ConversationDocuments documents(bundle.tokenizer);
  for (size_t i = 1; loss_on == LossOn::assistant && i < last; ++i) {
    if (input.messages.at(i).get_string_or("role", "") == "assistant")
      documents.add(answered_turn(row, input, i, bundle));
  }
  const AnsweredTurn turn = answered_turn(row, input, last, bundle);
  documents.add(turn);
  SftDocument out{.documents = documents.take(), .left_out = {}};
  if (loss_on == LossOn::all) out.documents.back() = document_from(std::move(out.documents.back().tokens));
  if (!bundle.chat_template.empty()) out.left_out = left_out_of(input, turn.prompt.text + turn.completion);
  return out;
}

}  // namespace r1
