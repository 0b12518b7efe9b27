// cli/conversation.h: the turns of a conversation, and the prompt made from them.
//
// The model is shown the system prompt, as many of the latest turns as fit, and the question, rendered by its
// chat template. Thoughts of earlier answers are left out as the template says: a template that cuts them out
// of an answer's text gets the whole text, one that reads reasoning_content gets that, and any other gets the
// answer alone, as R1's authors recommend.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/json.h"

namespace r1 {

struct ConversationPrompt {
  std::vector<int32_t> tokens;
  std::string opening;   // the prompt's thought_opening (text/think.h)
  int64_t left_out = 0;  // oldest turns that did not fit
  int64_t drawn = 0;  // tokens that were generated for the answers in the prompt, see RandomKey::first_draw
};

class Conversation {
 public:
  // The model is shown at most `turns` earlier turns; unset: all that fit. The bundle must outlive this
  // object.
  Conversation(const ModelBundle& bundle, std::optional<int64_t> turns) : bundle_(bundle), turns_(turns) {}

  // "": none. Throws Error if the chat template has no place for a system prompt, or refuses it.
  void set_system(const std::string& text);
  const std::string& system() const { return system_; }

  // Returns a prompt that leaves `room` tokens of the model's context free, unless the question alone is too
  // long. Throws Error if the template refuses it.
  ConversationPrompt prompt(const std::string& question, int64_t room) const;

  // `response` is all that the model wrote after a prompt with this `opening`, in so many tokens.
  void add(const std::string& question, const std::string& response, const std::string& opening,
           int64_t tokens = 0);
  void replace_last_response(const std::string& response, int64_t tokens);
  void drop_last();
  void clear() { said_.clear(); }  // the system prompt stays
  bool empty() const { return said_.empty(); }

  // Returns the whole conversation, thoughts included: [{"role", "content"}, ...]
  Json messages() const;

 private:
  struct Turn {
    std::string question, response, opening;
    int64_t tokens = 0;  // of the response
  };
  enum class ThoughtForm { inside, apart, dropped };

  ThoughtForm thought_form() const;
  Json shown_messages(int64_t turns, const std::string& question) const;
  Json shown_response(const Turn& turn) const;

  const ModelBundle& bundle_;
  std::optional<int64_t> turns_;
  std::string system_;
  std::vector<Turn> said_;
  mutable std::optional<ThoughtForm> thought_form_;  // asked once
};

}  // namespace r1
