// reward/verdict.h: what a verifier says of a response.
#pragma once

#include <cstddef>
#include <string>

namespace r1 {

struct Verdict {
  bool correct = false;      // the whole response deserves the accuracy reward
  bool well_formed = false;  // the format is right: tags as response.h wants them, whatever the answer
  std::string why;           // "ok", or one short machine-readable reason
  // Bytes [thought_begin, thought_end) of the response are the thought, up to the end of the response where
  // it was cut off inside it; empty where none was opened.
  size_t thought_begin = 0;
  size_t thought_end = 0;
};

}  // namespace r1
