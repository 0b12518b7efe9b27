// text/utf8.h: UTF-8, as strict as Unicode 16 chapter 3.9 (no overlong forms, no surrogates, at most
// U+10FFFF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace r1 {

struct Utf8Step {
  char32_t code = 0;  // U+FFFD if the bytes are invalid
  int size = 0;       // bytes consumed, 1..4; an invalid sequence's longest valid prefix, at least 1
  bool valid = false;
  bool truncated = false;  // invalid only because the text ends inside a character
};

// The character that starts at text[at]; at < text.size().
Utf8Step decode_utf8(std::string_view text, size_t at);

void append_utf8(std::string& out, char32_t code);  // code is a Unicode scalar value

bool is_valid_utf8(std::string_view text);

// Replaces every maximal invalid sequence by one U+FFFD, as the WHATWG decoder, Rust's from_utf8_lossy and
// Python's errors="replace" do, and hence as Hugging Face tokenizers do.
std::string replace_invalid_utf8(std::string_view text);

// The length of the longest prefix that does not end inside a character: the part of a growing text that can
// be shown. At most three bytes are held back.
size_t complete_utf8_prefix(std::string_view text);

}  // namespace r1
