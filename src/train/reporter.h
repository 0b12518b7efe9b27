// train/reporter.h: the interface by which a run reports its progress. The library prints nothing; the
// command line implements it.
#pragma once

#include <string>

#include "formats/json.h"

namespace r1 {

class Reporter {
 public:
  virtual ~Reporter() = default;
  // Called when a step has ended, with its metrics.jsonl row and the number of steps of the run.
  virtual void step(const Json& metrics, int64_t steps) = 0;
  // Called with a line for the user: resumed, checkpoint written, a warning.
  virtual void note(const std::string& line) = 0;
};

}  // namespace r1
