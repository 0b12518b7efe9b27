// cli/answer_printer.h: shows an answer on standard output while it is made.
//
// On a terminal the thought is dim and its tags are hidden (without colour they are shown), and control
// characters of the model are made visible (cli/printable.h). Elsewhere the text is written as the model
// wrote it, so that a pipe loses nothing. Hidden thoughts are left out in both cases.
#pragma once

#include <cstdint>
#include <string>

#include "text/think.h"
#include "text/tokenizer.h"

namespace r1 {

struct AnswerStyle {
  bool terminal = false;
  bool colour = false;  // terminal only
  bool hide_thinking = false;

  // For standard output: colour on a terminal, unless NO_COLOR is set or the terminal is dumb.
  static AnswerStyle of_stdout(bool hide_thinking);
  std::string dim(const std::string& text) const;
};

class AnswerPrinter {
 public:
  // prompt_opened: see text/think.h.
  AnswerPrinter(const Tokenizer& tokenizer, AnswerStyle style, bool prompt_opened)
      : tokenizer_(tokenizer), decoder_(tokenizer), splitter_(prompt_opened), style_(style) {}
  AnswerPrinter(const AnswerPrinter&) = delete;
  AnswerPrinter& operator=(const AnswerPrinter&) = delete;
  ~AnswerPrinter();  // makes the terminal plain again
  void feed(int32_t token);
  void finish();  // writes the rest, and a newline

 private:
  void show(const std::string& text);
  void show_parts(const std::vector<ThinkPart>& parts);
  std::string enter_thought();
  std::string leave_thought(bool answer_follows);

  Tokenizer tokenizer_;
  StreamDecoder decoder_;
  ThinkSplitter splitter_;
  AnswerStyle style_;
  bool in_thought_ = false;  // a thought is being shown on a terminal
};

}  // namespace r1
