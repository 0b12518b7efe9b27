// data/sequence_rules.h: the rules that a sequence task may follow, and what each makes of given terms.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/rational.h"

namespace r1 {

enum class SequenceRule {
  arithmetic,   // a, a+d, a+2d, ...
  geometric,    // a, a*r, a*r^2, ...; r a fraction; no term is 0
  quadratic,    // the differences are arithmetic
  fibonacci,    // each term is the sum of the two before it
  interleaved,  // two sequences, each arithmetic or geometric, take turns
};

// The next terms that the rule allows: none where the terms break it, two or more where they leave it open.
// Values beyond 63 bits break a rule. Equal values stand once.
std::vector<Rational> next_terms(SequenceRule rule, std::span<const int64_t> terms);

// The one next term of all rules together; nothing where no rule holds or two differ.
std::optional<Rational> decided_next_term(std::span<const int64_t> terms);

}  // namespace r1
