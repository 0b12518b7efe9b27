#include "cli/message_reader.h"

namespace r1 {
namespace {

constexpr std::string_view kBlock = "\"\"\"";
constexpr const char* kFirst = "> ";
constexpr const char* kFurther = ". ";

Message read_block(LineEditor& editor, std::string text) {
  while (!text.ends_with(kBlock)) {
    std::string line;
    const LineEditor::Outcome outcome = editor.read(kFurther, line);
    if (outcome == LineEditor::Outcome::end_of_input) return {.text = text, .is_block = true};
    if (outcome != LineEditor::Outcome::line) return {.outcome = outcome, .text = {}};
    text += (text.empty() ? "" : "\n") + line;
  }
  text.resize(text.size() - kBlock.size());
  if (text.ends_with('\n')) text.pop_back();
  return {.text = text, .is_block = true};
}

}  // namespace

Message read_message(LineEditor& editor) {
  Message message;
  std::string line;
  for (const char* prompt = kFirst;; prompt = kFurther) {
    message.outcome = editor.read(prompt, line);
    if (message.outcome == LineEditor::Outcome::end_of_input && prompt == kFurther) {
      message.outcome = LineEditor::Outcome::line;  // the lines read so far are the message
      return message;
    }
    if (message.outcome != LineEditor::Outcome::line) return message;
    if (prompt == kFirst && line.starts_with(kBlock)) return read_block(editor, line.substr(kBlock.size()));
    if (!line.ends_with('\\')) break;
    line.back() = '\n';
    message.text += line;
  }
  message.text += line;
  return message;
}

}  // namespace r1
