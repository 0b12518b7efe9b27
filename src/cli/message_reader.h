// cli/message_reader.h: a message typed in a conversation: one line, or several.
#pragma once

#include <string>

#include "cli/line_editor.h"

namespace r1 {

struct Message {
  LineEditor::Outcome outcome = LineEditor::Outcome::line;
  std::string text;       // if the outcome is a line
  bool is_block = false;  // written between """ and """, so it is always a question
};

// Reads a message. A line that ends with \ continues in the next one. A line that begins with """ begins a
// block, which ends with a line that ends with """ (or with the end of input). Ctrl-C discards the begun
// message.
Message read_message(LineEditor& editor);

}  // namespace r1
