// data/split.h: the training and held-out sides of generated problems. A problem's side is a property of the
// problem (a hash of its content), never of the seed that drew it, so no two seeds can mix the sides.
#pragma once

#include <string_view>

#include "base/error.h"

namespace r1 {

enum class Split { train, held_out };

// True for one content in twenty: the first 8 hex digits of SHA-256(content) are 0 modulo 20. A content is
// the problem without its wording: two problems whose answers follow from each other share it.
bool is_held_out_content(std::string_view content);

// Calls draw() until its result, a struct with a content `key`, lies in the split.
template <class Draw>
auto draw_in_split(Split split, const Draw& draw) {
  constexpr int kTries = 100'000;  // 0.95 to that power underflows to 0
  for (int i = 0; i < kTries; ++i) {
    auto drawn = draw();
    if (is_held_out_content(drawn.key) == (split == Split::held_out)) return drawn;
  }
  throw BrokenInvariant("a task without contents on one side of the split");
}

}  // namespace r1
