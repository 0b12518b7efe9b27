// reward/verdict.h: what a verifier says of a response.
#pragma once

#include <string>

namespace r1 {

struct Verdict {
  bool correct = false;      // the whole response deserves the accuracy reward, whatever its format
  bool well_formed = false;  // the format is right: tags as response.h wants them, whatever the answer
  std::string why;           // "ok", or one short machine-readable reason
};

}  // namespace r1
