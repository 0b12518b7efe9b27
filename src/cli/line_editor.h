// cli/line_editor.h: a line typed at a terminal, with editing keys and history (libedit).
//
// The terminal is in raw mode only inside read(). Ctrl-C, SIGTERM and SIGHUP end read() cleanly if the caller
// catches them (cli/caught_signals.h); Ctrl-Z restores the terminal and stops the program. Text pasted in a
// terminal with bracketed paste is inserted as it is, newlines included, and waits for Enter.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace r1 {

class LineEditor {
 public:
  // Reads descriptor 0; prompt and echo go to output_fd, a terminal. Throws Error.
  explicit LineEditor(int output_fd);
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;
  ~LineEditor();  // restores the terminal

  enum class Outcome { line, end_of_input, interrupted, terminated };
  // A line without its newline; it may hold newlines that were pasted.
  Outcome read(const std::string& prompt, std::string& line);

  void add_history(const std::string& entry);  // makes an entry available to the arrow keys

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
