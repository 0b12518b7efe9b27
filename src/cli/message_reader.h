// cli/message_reader.h: a message typed in a conversation: one line, or several.
#pragma once

#include <string>

#include "cli/line_editor.h"

namespace r1 {

struct Message {
  LineEditor::Outcome outcome = LineEditor::Outcome::line;
  std::string text;       // of a line
  bool is_block = false;  // written between """ and """, so it is a question whatever it begins with
};

// A line that ends with \ goes on in the next one. A line that begins with """ begins a block, which ends with a
// line that ends with """ (or with the end of input). Ctrl-C drops what was begun.
Message read_message(LineEditor& editor);

}  // namespace r1
