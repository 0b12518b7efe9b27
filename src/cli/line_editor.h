// cli/line_editor.h: a line typed at a terminal, with editing keys and history (libedit).
//
// The terminal is in raw mode only inside read(). Ctrl-C, SIGTERM and SIGHUP end read() in good order if the caller
// catches them (cli/caught_signals.h); Ctrl-Z stops the program with the terminal as it was. Text pasted by a
// terminal that brackets pastes is inserted as it is, newlines too, and waits for Enter.
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

  void add_history(const std::string& entry);  // what the arrow keys bring back

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
