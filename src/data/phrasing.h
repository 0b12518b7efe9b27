// data/phrasing.h: the wording of generated questions.
//
// A form is a sentence with choices and holes: "[What is|How much is] $e?". [a|b|c] becomes one of its parts,
// drawn evenly; a part may be empty or hold holes, but no brackets. $e becomes the value of the hole e.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "base/random.h"

namespace r1 {

struct Hole {
  char name;
  std::string value;
};

std::string phrase(Random& random, std::string_view form, std::span<const Hole> holes);

// Fills one of the forms, drawn evenly.
std::string phrase(Random& random, std::span<const std::string_view> forms,
                   std::initializer_list<Hole> holes);

// Returns an element, drawn evenly.
template <class Range>
const auto& pick(Random& random, const Range& range) {
  return range[static_cast<size_t>(random.below(static_cast<int64_t>(std::size(range))))];
}

}  // namespace r1
