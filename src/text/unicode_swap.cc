#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// One old character a category, in three and in four UTF-8 bytes. None is in the ranges that published
// patterns name (CJK, kana, Latin), nor has a case partner there.
struct Stand {
  char category[3];
  char32_t three_bytes;
  char32_t four_bytes;
};
constexpr Stand kStands[] = {
    {"Lu", 0x2C60, 0x10400}, {"Ll", 0x1D00, 0x10428}, {"Lm", 0x10FC, 0x16F93}, {"Lo", 0x0E01, 0x10000},
    {"Mn", 0x0E31, 0x10A01}, {"Mc", 0x0903, 0x11000}, {"Nd", 0x0E50, 0x104A0}, {"No", 0x0F2A, 0x10107},
    {"Pd", 0x2010, 0x10EAD}, {"Po", 0x0E4F, 0x10100}, {"Sm", 0x2044, 0x1D6C1}, {"So", 0x2100, 0x10137},
};

char32_t stand_for(const UnicodeRange& range) {
  for (const Stand& stand : kStands) {
    if (std::strcmp(stand.category, range.category) == 0) {
      return range.first < 0x10000 ? stand.three_bytes : stand.four_bytes;
    }
  }
  R1_CHECK(false, "no stand-in for category ", range.category);
  return 0;
}

}  // namespace

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
      append_utf8(stand, stand_for(*range));
      R1_CHECK(stand.size() == static_cast<size_t>(step.size), "stand-in of another length");
      swapped.replace(at, stand.size(), stand);
    }
    at += step.size;
  }
  return swapped;
}

}  // namespace r1
