#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace r1 {
namespace {

constexpr int kLetters = 0x100 + 68;  // code points 0 to U+0143

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> letter{};
  std::array<int16_t, kLetters> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int letter = stands_for_itself(byte) ? byte : next++;
    alphabet.letter[byte] = static_cast<uint16_t>(letter);
    alphabet.byte[letter] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t byte_to_letter(unsigned char byte) {
  return kAlphabet.letter[byte];
}

std::optional<unsigned char> letter_to_byte(char32_t letter) {
  if (letter >= kLetters || kAlphabet.byte[letter] < 0) return std::nullopt;
  return static_cast<unsigned char>(kAlphabet.byte[letter]);
}

std::string bytes_to_letters(std::string_view bytes) {
  std::string letters;
  for (const char byte : bytes) append_utf8(letters, byte_to_letter(static_cast<unsigned char>(byte)));
  return letters;
}

std::optional<std::string> letters_to_bytes(std::string_view letters) {
  std::string bytes;
  for (size_t at = 0; at < letters.size();) {
    const Utf8Step step = decode_utf8(letters, at);
    const auto byte = step.valid ? letter_to_byte(step.code) : std::nullopt;
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    at += step.size;
  }
  return bytes;
}

}  // namespace r1
