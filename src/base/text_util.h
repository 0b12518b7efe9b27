// base/text_util.h: small string helpers.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace r1 {

// C's %a form of an f32 widened to double ("0x1.8p+1", "-inf"): equal strings mean equal bits (but for NaN
// payloads).
std::string hex_float(float value);

// The candidate with the least edit distance to `word`, or "" where none is within max(2, length / 3).
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

// For HTML text and attributes: & < > " ' as entities, the quotes as numbers, as MarkupSafe does.
std::string html_escaped(std::string_view text);

// A word of a command, to be typed into a shell: as it is where that is plain, else in single quotes.
std::string shell_word(std::string_view word);

}  // namespace r1
