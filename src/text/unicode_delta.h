// text/unicode_delta.h: the code points assigned since Unicode 14, up to Unicode 16, or put into another
// general category.
//
// Debian's PCRE2 classifies by Unicode 14; the tokenizers library that published models were checked with
// uses 16. Before matching, each of these characters is swapped for an old one that stands in for it: every
// pattern then classifies as Unicode 16 does, and offsets stay.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace r1 {

struct UnicodeRange {
  char category[3];  // "Lo"
  uint32_t first;
  uint32_t last;   // included
  uint32_t stand;  // an old character near by, of the same category and UTF-8 length, Han if the range is
};

// Sorted by code point.
std::span<const UnicodeRange> unicode_delta();

// The range that `code` is in; nullptr for a character that is the same in Unicode 14 and 16.
const UnicodeRange* find_new_character(char32_t code);

// `text` (valid UTF-8) with its new characters swapped; the same length. Nothing where there is none, the
// usual case.
std::string swap_new_characters(std::string_view text);
// True if a pattern may name the characters first..last: swapping keeps every character in that range or out
// of it.
bool is_kept_by_swapping(char32_t first, char32_t last);

}  // namespace r1
