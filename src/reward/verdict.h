// reward/verdict.h: a verifier's result for a response.
#pragma once

#include <string>

namespace r1 {

struct Verdict {
  bool correct = false;      // the whole response deserves the accuracy reward, whatever its format
  bool well_formed = false;  // the format is right: tags as in response.h, whatever the answer
  std::string why;           // "ok", or one short machine-readable reason
};

}  // namespace r1
