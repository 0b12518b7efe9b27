#include "cli/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "text/think.h"

namespace r1 {
namespace {

Json message(std::string_view role, std::string_view content) {
  return Json::object().set("role", role).set("content", content);
}

}  // namespace

void Conversation::set_system(const std::string& text) {
  if (!text.empty()) {
    if (bundle_.chat_template.empty())
      throw Error("the model has no chat template, so it has no place for a system prompt");
    const Json question = message("user", "?");
    Json with = Json::array();
    with.push_back(message("system", text)).push_back(question);
    if (bundle_.chat({.messages = Json::array().push_back(question)}).text ==
        bundle_.chat({.messages = with}).text)
      throw Error("the model's chat template leaves out a system prompt, so it would have no effect");
  }
  system_ = text;
}

// Finds out how the template treats a thought in an earlier answer, by rendering one.
Conversation::ThoughtForm Conversation::thought_form() const {
  if (thought_form_) return *thought_form_;
  const auto shows = [&](const Json& answer, std::string_view words) {
    try {
      Json list = Json::array();
      list.push_back(message("user", "?")).push_back(answer).push_back(message("user", "?"));
      return bundle_.chat({.messages = list}).text.find(words) != std::string::npos;
    } catch (const Error&) {
      return false;
    }
  };
  const std::string thought = "zq-thought-qz", said = "zq-answer-qz";
  const Json inside = message("assistant", "<think>\n" + thought + "\n</think>\n\n" + said);
  Json apart = message("assistant", said);
  apart.set("reasoning_content", thought);
  if (shows(inside, said) && !shows(inside, thought)) {
    thought_form_ = ThoughtForm::inside;
  } else {
    thought_form_ = shows(apart, said) && shows(apart, thought) ? ThoughtForm::apart : ThoughtForm::dropped;
  }
  return *thought_form_;
}

Json Conversation::shown_response(const Turn& turn) const {
  const ThinkSplit split = split_think(turn.response, !turn.opening.empty());
  if (!split.has_thought) return message("assistant", turn.response);
  if (!split.closed) return message("assistant", "");  // cut inside the thought, so there is no answer
  if (thought_form() == ThoughtForm::inside)
    return message("assistant", whole_response(turn.response, turn.opening));
  Json out = message("assistant", split.answer);
  if (thought_form() == ThoughtForm::apart) out.set("reasoning_content", split.thought);
  return out;
}

Json Conversation::shown_messages(int64_t turns, const std::string& question) const {
  Json list = Json::array();
  if (!system_.empty()) list.push_back(message("system", system_));
  for (size_t i = said_.size() - static_cast<size_t>(turns); i < said_.size(); ++i) {
    list.push_back(message("user", said_[i].question));
    list.push_back(shown_response(said_[i]));
  }
  return list.push_back(message("user", question));
}

ConversationPrompt Conversation::prompt(const std::string& question, int64_t room) const {
  if (bundle_.chat_template.empty()) {
    ChatPrompt alone = bundle_.chat_prompt(question);
    return {.tokens = std::move(alone.tokens), .opening = std::move(alone.opening)};
  }
  const int64_t most = bundle_.model.config().max_positions - room;
  const int64_t wanted = std::min(static_cast<int64_t>(said_.size()), turns_.value_or(INT64_MAX));
  ConversationPrompt prompt;
  for (int64_t turns = wanted; turns >= 0; --turns) {
    ChatPrompt chat = bundle_.chat({.messages = shown_messages(turns, question)});
    prompt.tokens = std::move(chat.tokens);
    prompt.opening = std::move(chat.opening);
    prompt.left_out = wanted - turns;
    prompt.drawn = 0;
    for (auto turn = said_.end() - turns; turn != said_.end(); ++turn) prompt.drawn += turn->tokens;
    if (static_cast<int64_t>(prompt.tokens.size()) <= most) break;
  }
  return prompt;
}

void Conversation::add(const std::string& question, const std::string& response, const std::string& opening,
                       int64_t tokens) {
  said_.push_back({question, response, opening, tokens});
}

void Conversation::replace_last_response(const std::string& response, int64_t tokens) {
  R1_CHECK(!said_.empty(), "nothing was said");
  said_.back().response = response;
  said_.back().tokens = tokens;
}

void Conversation::drop_last() {
  R1_CHECK(!said_.empty(), "nothing was said");
  said_.pop_back();
}

Json Conversation::messages() const {
  Json list = Json::array();
  if (!system_.empty()) list.push_back(message("system", system_));
  for (const Turn& turn : said_) {
    list.push_back(message("user", turn.question));
    list.push_back(message("assistant", whole_response(turn.response, turn.opening)));
  }
  return list;
}

}  // namespace r1
