// base/text_util.h: small string helpers.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace r1 {

// C's %a form of an f32 as double ("0x1.8p+1", "-inf"). Equal strings mean equal bits, but for NaN payloads.
std::string hex_float(float value);

// Returns the candidate with the least edit distance to `word`, or "" if none is within max(2, length / 3).
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

// Escapes text for HTML content and attributes: & < > " ' as entities, quotes as numbers, like MarkupSafe.
std::string html_escaped(std::string_view text);

// Quotes a word for a shell command: plain words stay as they are, others get single quotes.
std::string shell_word(std::string_view word);

}  // namespace r1
