// text/unicode_delta.h: code points that were assigned, or changed their general category, between Unicode 14
// and Unicode 16.
//
// Debian's PCRE2 classifies by Unicode 14; the tokenizers library with which published models were checked
// uses 16. Before matching, each of these characters is replaced by an older one: every pattern then
// classifies as Unicode 16 does, and offsets stay.
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

// Returns `text` (valid UTF-8) with its new characters replaced; its length stays. Empty if there are none,
// the usual case.
std::string swap_new_characters(std::string_view text);
// True if a pattern may name the characters first..last: replacement keeps every character inside or outside
// that range.
bool is_kept_by_swapping(char32_t first, char32_t last);

}  // namespace r1
