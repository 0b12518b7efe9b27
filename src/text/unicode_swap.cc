#include <algorithm>

#include "base/error.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1 {
const UnicodeRange* find_new_character(char32_t code) {
  const auto ranges = unicode_delta();
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](char32_t c, const UnicodeRange& r) { return c < r.first; });
  if (after == ranges.begin()) return nullptr;
  const auto range = std::prev(after);
  return code <= range->last ? &*range : nullptr;
}

std::string swap_new_characters(std::string_view text) {
  std::string swapped;
  for (size_t at = 0; at < text.size();) {
    // The first new character is U+0897: E0 A2 97.
    if (static_cast<unsigned char>(text[at]) < 0xE0) {
      ++at;
      continue;
    }
    const Utf8Step step = decode_utf8(text, at);
    if (const UnicodeRange* range = find_new_character(step.code)) {
      if (swapped.empty()) swapped = text;
      std::string stand;
      append_utf8(stand, range->stand);
      R1_CHECK(stand.size() == static_cast<size_t>(step.size), "stand-in of another length");
      swapped.replace(at, stand.size(), stand);
    }
    at += step.size;
  }
  return swapped;
}

bool is_kept_by_swapping(char32_t first, char32_t last) {
  return std::ranges::all_of(unicode_delta(), [&](const UnicodeRange& range) {
    const bool holds_stand = first <= range.stand && range.stand <= last;
    const bool holds_all = first <= range.first && range.last <= last;
    const bool holds_some = first <= range.last && range.first <= last;
    return holds_stand ? holds_all : !holds_some;
  });
}

}  // namespace r1
