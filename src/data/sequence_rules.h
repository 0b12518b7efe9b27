// data/sequence_rules.h: the rules of sequence tasks, and the next terms that each rule allows.
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

// The next terms that the rule allows: none if the given terms break it, two or more if they leave it open.
// Values beyond 63 bits break a rule. Equal values are listed once.
std::vector<Rational> next_terms(SequenceRule rule, std::span<const int64_t> terms);

// The only next term that any rule allows; nothing if no rule holds or two terms differ.
std::optional<Rational> decided_next_term(std::span<const int64_t> terms);

}  // namespace r1
