// reward/pattern_verifier.h: decides if the answer matches a regular expression (PCRE2). Any bytes give a
// verdict.
//
//   gold    "[A-Z]{2}\\d+" or {"pattern": P, "match": "whole" | "search", "case": "exact" | "ignore"}
//   whole   the default: the pattern must match all of the answer, except for white space around it
//   search  the pattern must match a part of the answer
//
// A match may take kMatchSteps steps and a depth of kMatchDepth, which is a few milliseconds. If a pattern
// needs more, the verifier has failed (why = "pattern_gave_up"), and the answer is not judged.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

class Json;

inline constexpr uint32_t kMatchSteps = 1'000'000;
inline constexpr uint32_t kMatchDepth = 10'000;
inline constexpr size_t kMaxPatternBytes = 16 * 1024;

class PatternVerifier {
 public:
  // Throws Error for a pattern that PCRE2 cannot read, and for an unknown field.
  explicit PatternVerifier(const Json& gold);
  // `why` is "ok", one of free_answer.h's reasons, no_match or pattern_gave_up.
  Verdict verify(std::string_view response) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace r1
