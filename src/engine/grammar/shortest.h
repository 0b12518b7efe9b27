// engine/grammar/shortest.h: how short a whole text of a grammar can be, in bytes and in tokens, so that a limit
// that no answer can keep is refused before the model runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/grammar/grammar.h"
#include "engine/grammar/token_masks.h"

namespace r1 {

// Beyond this, a shortest text is not written out.
inline constexpr int64_t kMostShortestBytes = 65536;

struct ShortestText {
  int64_t bytes = 0;  // no text of the grammar is shorter; at most INT64_MAX / 4, which also stands for more
  std::optional<std::string> text;  // one of that length, if it was found within the bounds
};
ShortestText shortest_text(const Grammar& grammar);

// Tokens that are enough to write `text`, the fewest for these bytes. No value if the vocabulary cannot.
std::optional<int64_t> tokens_enough(const TokenVocabulary& vocabulary, const std::string& text);

// False if no whole text of the grammar has at most `most` tokens; true if one has, and also if that cannot be
// found out with a bounded amount of work.
bool may_fit(const TokenMasks& masks, const ShortestText& shortest, int64_t most);

}  // namespace r1
