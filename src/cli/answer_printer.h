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
  // prompt_opened: see text/think.h.
  AnswerPrinter(const Tokenizer& tokenizer, AnswerStyle style, bool prompt_opened)
      : tokenizer_(tokenizer), decoder_(tokenizer), splitter_(prompt_opened), style_(style) {}
  void feed(int32_t token);
  void finish();  // the rest, and a newline

 private:
  void show(const std::string& text);
  void show_parts(const std::vector<ThinkPart>& parts);

  Tokenizer tokenizer_;
  StreamDecoder decoder_;
  ThinkSplitter splitter_;
  AnswerStyle style_;
  bool dimmed_ = false;
};

inline constexpr const char* kDim = "\x1b[2m";
inline constexpr const char* kPlain = "\x1b[0m";

}  // namespace r1
