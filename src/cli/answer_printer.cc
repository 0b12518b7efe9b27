#include "cli/answer_printer.h"

#include <cstdlib>
#include <cstring>

#include "cli/output.h"
#include "cli/printable.h"

namespace r1 {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";

bool may_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || *term == '\0' || std::strcmp(term, "dumb") == 0;
  return !dumb && (no_color == nullptr || *no_color == '\0');
}

}  // namespace

AnswerStyle AnswerStyle::of_stdout(bool hide_thinking) {
  const bool terminal = stdout_is_terminal();
  return {.terminal = terminal, .colour = terminal && may_colour(), .hide_thinking = hide_thinking};
}

std::string AnswerStyle::dim(const std::string& text) const {
  return colour ? kDim + text + kPlain : text;
}

AnswerPrinter::~AnswerPrinter() {
  if (!in_thought_ || !style_.colour) return;
  try {
    write_stdout(std::string(kPlain) + "\n");
  } catch (const std::exception&) {  // the terminal is gone
  }
}

std::string AnswerPrinter::enter_thought() {
  in_thought_ = true;
  return style_.colour ? kDim : "<think>";
}

std::string AnswerPrinter::leave_thought(bool answer_follows) {
  in_thought_ = false;
  return std::string(style_.colour    ? kPlain
                     : answer_follows ? "</think>"
                                      : "") +
         (answer_follows ? "\n\n" : "");
}

void AnswerPrinter::show_parts(const std::vector<ThinkPart>& parts) {
  for (const ThinkPart& part : parts) {
    if (part.is_thought && style_.hide_thinking) continue;
    if (!style_.terminal) {
      write_stdout(part.text);
      continue;
    }
    std::string out;
    if (part.is_thought && !in_thought_) out += enter_thought();
    if (!part.is_thought && in_thought_) out += leave_thought(true);
    write_stdout(out + printable(part.text));
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
  write_stdout((in_thought_ ? leave_thought(false) : "") + "\n");
}

}  // namespace r1
