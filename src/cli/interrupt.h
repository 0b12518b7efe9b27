// cli/interrupt.h: ends a command on Ctrl-C when its finished work is safe on disk.
#pragma once

#include <cstdint>
#include <string>

namespace r1 {

// While an instance lives, SIGINT and SIGTERM end the program at once, with status 130 or 143 and one line on
// stderr:
//   r1: interrupted: 12 of 40 samples are finished. To go on: r1 generate ... --resume
// At most one lives at a time. Its owner must write every finished piece of work to the system before
// counting it.
class InterruptNotice {
 public:
  // `what`: "samples"; `advice`: " To go on: ...".
  InterruptNotice(std::string what, int64_t total, std::string advice);
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;
  ~InterruptNotice();  // restores the former signal actions

  void set_finished(int64_t finished);
};

}  // namespace r1
