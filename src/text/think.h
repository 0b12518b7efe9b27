// text/think.h: the one rule for <think> ... </think>. Every command reads thoughts through this file.
//
// - A prompt opens a thought if its text ends with <think>, white space aside. Only the end counts: a tag in
// a
//   user's message, or a thought that the prompt closes again, opens nothing.
// - A response has a thought if its prompt opened one, or if the response begins with <think>, white space
//   aside. If both hold, the two tags count as one.
// - The thought ends at the first </think>, or at the end of the response. The answer follows it.
// - A tag anywhere else is ordinary text. Tags are found in text: a tokenizer may write one as one token, as
//   several, or together with its neighbours.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace r1 {

inline constexpr std::string_view kThinkOpen = "<think>";
inline constexpr std::string_view kThinkClose = "</think>";

// Returns the end of a rendered prompt that opens a thought: <think> and the white space after it. "" if the
// prompt opens none.
std::string_view thought_opening(std::string_view prompt);

// Returns the response with the thought's opening put back in front, as verifiers and training data read it.
// `opening` is thought_opening of the prompt. A response that begins with <think> itself, or whose prompt
// opened nothing, stays as it is.
std::string whole_response(std::string_view response, std::string_view opening);

// Returns the part of a whole response to write after a prompt that ends with `opening`: the response without
// the tag and the white space that the prompt already has. A response without a tag stays as it is.
std::string_view rest_of_response(std::string_view response, std::string_view opening);

// True if `opening` leaves the thought open. It does not if it is a whole, empty thought (kEmptyThought).
bool opens_thought(std::string_view opening);

// A thought that is closed before it begins, as prompts of models with and without thoughts write it.
inline constexpr std::string_view kEmptyThought = "<think>\n\n</think>\n\n";

// Return the prompt with the beginning of a thought, or with an empty thought, at its end, written once. If
// it has neither yet, `before` and <think> are appended. with_open_thought throws Error for a prompt that
// ends with </think>.
std::string with_open_thought(std::string prompt, std::string_view before);
std::string with_empty_thought(std::string prompt, std::string_view before);

// Bytes [begin, end) of a response are its thought, with the white space around it.
struct ThoughtSpan {
  size_t begin = 0;
  size_t end = 0;
  bool closed = false;  // </think> was reached
};
std::optional<ThoughtSpan> find_thought(std::string_view response, bool prompt_opened = false);

// Returns the text of generated tokens, without special tokens. The tags of a thought stay even if the
// tokenizer calls them special: without them the thought could not be told from the answer.
std::string response_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens);
// True if response_text drops the token.
bool is_hidden(const Tokenizer& tokenizer, int32_t token);

struct ThinkPart {
  bool is_thought = false;
  std::string text;
};

// Takes text in pieces of any size and returns each part as soon as it is certain. Joined by kind, the parts
// are split_think of the whole text. White space around the thought and before the answer belongs to neither.
class ThinkSplitter {
 public:
  explicit ThinkSplitter(bool prompt_opened = false) : opened_(prompt_opened) {}
  std::vector<ThinkPart> feed(std::string_view text);
  std::vector<ThinkPart> flush();  // the text has ended

  bool has_thought() const { return opened_; }
  bool is_thinking() const { return opened_ && !closed_; }

 private:
  void advance(bool at_end, std::vector<ThinkPart>& parts);
  bool read_start(bool at_end);
  void emit_thought(std::string_view text, bool is_last, std::vector<ThinkPart>& parts);
  void emit_answer(std::string_view text, std::vector<ThinkPart>& parts);

  std::string held_;    // not yet certain
  std::string spaces_;  // after the thought so far: part of it if more follows
  bool started_ = false;
  bool opened_;
  bool closed_ = false;
  bool thought_begun_ = false;
  bool answer_begun_ = false;
};

struct ThinkSplit {
  std::string thought;
  std::string answer;
  bool has_thought = false;
  bool closed = false;  // has_thought only: </think> was reached, so there is an answer
};
ThinkSplit split_think(std::string_view response, bool prompt_opened = false);

}  // namespace r1
