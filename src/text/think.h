// text/think.h: splits a response into its thought and its answer around <think> ... </think>.
//
// R1's contract: a response is <think>thought</think>answer, or begins inside the thought because the prompt
// ended with <think>. A tag anywhere else is ordinary text. White space around the thought and before the
// answer belongs to neither.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace r1 {

struct ThinkPart {
  bool is_thought = false;
  std::string text;
};

// Feeds on text in pieces of any size; gives each part of it as soon as it is certain. Joined by kind, the
// parts are split_think of the whole text.
class ThinkSplitter {
 public:
  // prompt_opened: the prompt ended with <think> (a second one at the response's start is then passed over).
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
  bool closed = false;  // has_thought only: </think> was reached, so that there is an answer
};
ThinkSplit split_think(std::string_view response, bool prompt_opened = false);

}  // namespace r1
