// reward/pattern_verifier.h: the answer matches a regular expression (PCRE2). Total: any bytes give a verdict.
//
// Gold: "[A-Z]{2}\\d+" or {"pattern": P, "match": "whole" | "search", "case": "exact" | "ignore"}
//   whole (default): the pattern matches all of the answer, white space around it aside. search: a part of it.
//
// A match may take kMatchSteps steps and kMatchDepth nested ones, a few milliseconds. A pattern that needs more has
// not judged the answer: why = "pattern_gave_up", which is the verifier's failure and not the answer's.
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
