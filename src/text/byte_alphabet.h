// text/byte_alphabet.h: GPT-2's alphabet of one printable character per byte, used by byte-level
// vocabularies.
//
// Bytes 21..7E, A1..AC and AE..FF (hexadecimal) stand for themselves as code points; the other 68, in order,
// are U+0100 and up: a space is U+0120.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace r1 {

char32_t byte_to_letter(unsigned char byte);
std::optional<unsigned char> letter_to_byte(char32_t letter);

std::string bytes_to_letters(std::string_view bytes);
// Nothing if one of the characters is not a letter of the alphabet.
std::optional<std::string> letters_to_bytes(std::string_view letters);

}  // namespace r1
