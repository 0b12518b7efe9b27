// train/reporter.h: how a run tells somebody what it does. The library prints nothing; the command line
// implements this.
#pragma once

#include <string>

#include "formats/json.h"

namespace r1 {

class Reporter {
 public:
  virtual ~Reporter() = default;
  // A step has ended: its metrics.jsonl row, and of how many steps.
  virtual void step(const Json& metrics, int64_t steps) = 0;
  // Something a person should know: resumed, checkpoint written, a warning.
  virtual void note(const std::string& line) = 0;
};

}  // namespace r1
