// cli/answer_printer.h: shows an answer on standard output while it is made.
//
// On a terminal the thought is dimmed and its tags are not shown; elsewhere the text goes out as the model
// wrote it, so that nothing is lost in a pipe. Hidden thoughts are left out in both.
#pragma once

#include <cstdint>
#include <string>

#include "text/think.h"
#include "text/tokenizer.h"

namespace r1 {

struct AnswerStyle {
  bool terminal = false;
  bool hide_thinking = false;
};

class AnswerPrinter {
 public:
  // prompt_opened: the prompt ended with <think>.
  AnswerPrinter(const Tokenizer& tokenizer, AnswerStyle style, bool prompt_opened)
      : decoder_(tokenizer, true), splitter_(prompt_opened), style_(style) {}
  void feed(int32_t token);
  void finish();  // the rest, and a newline

 private:
  void show(const std::string& text);
  void show_parts(const std::vector<ThinkPart>& parts);

  StreamDecoder decoder_;
  ThinkSplitter splitter_;
  AnswerStyle style_;
  bool dimmed_ = false;
};

// Does the prompt leave the model inside a thought?
bool opens_thought(const Tokenizer& tokenizer, std::span<const int32_t> prompt);

inline constexpr const char* kDim = "\x1b[2m";
inline constexpr const char* kPlain = "\x1b[0m";

}  // namespace r1
