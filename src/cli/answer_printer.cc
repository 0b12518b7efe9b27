#include "cli/answer_printer.h"

#include "cli/output.h"

namespace r1 {

void AnswerPrinter::show_parts(const std::vector<ThinkPart>& parts) {
  for (const ThinkPart& part : parts) {
    if (part.is_thought && style_.hide_thinking) continue;
    std::string out;
    if (style_.terminal && part.is_thought && !dimmed_) out += kDim;
    if (dimmed_ && !part.is_thought) out += std::string(kPlain) + "\n\n";
    dimmed_ = style_.terminal && part.is_thought;
    out += part.text;
    write_stdout(out);
  }
}

void AnswerPrinter::show(const std::string& text) {
  if (style_.terminal || style_.hide_thinking) {
    show_parts(splitter_.feed(text));
  } else {
    write_stdout(text);
  }
}

void AnswerPrinter::feed(int32_t token) {
  if (!is_hidden(tokenizer_, token)) show(decoder_.feed(token));
}

void AnswerPrinter::finish() {
  show(decoder_.flush());
  if (style_.terminal || style_.hide_thinking) show_parts(splitter_.flush());
  write_stdout(dimmed_ ? std::string(kPlain) + "\n" : "\n");
  dimmed_ = false;
}

}  // namespace r1
