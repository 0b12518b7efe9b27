// base/ascii.h against the C library's "C" locale, byte by byte. Bytes beyond ASCII belong to no class.
#include "base/ascii.h"

#include <gtest/gtest.h>

#include <cctype>
#include <string>

namespace r1::ascii_test {
namespace {

TEST(Ascii, EveryByteIsWhatTheCLocaleSays) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool ascii = byte < 128;
    EXPECT_EQ(is_digit(c), ascii && std::isdigit(byte) != 0) << byte;
    EXPECT_EQ(is_letter(c), ascii && std::isalpha(byte) != 0) << byte;
    EXPECT_EQ(to_lower(c), ascii ? static_cast<char>(std::tolower(byte)) : c) << byte;
    EXPECT_EQ(to_upper(c), ascii ? static_cast<char>(std::toupper(byte)) : c) << byte;
    const bool rare = byte == '\v' || byte == '\f';  // white space that no verifier treats as blank
    EXPECT_EQ(is_blank(c), ascii && std::isspace(byte) != 0 && !rare) << byte;
  }
}

TEST(Ascii, TrimTakesBothEndsAndNothingBetween) {
  EXPECT_EQ(trim(" \t\r\n a b \n\t"), "a b");
  EXPECT_EQ(trim("a"), "a");
  EXPECT_EQ(trim(" \n "), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\va\f"), "\va\f");
  EXPECT_EQ(trim("\u00A0a"), "\u00A0a");
}

TEST(Ascii, WordsAndCase) {
  EXPECT_TRUE(is_word("Knave"));
  EXPECT_FALSE(is_word("Kn4ve"));
  EXPECT_FALSE(is_word("Bj\u00F6rn"));
  EXPECT_TRUE(equal_ignoring_case("fFaZ9", "FfAz9"));
  EXPECT_FALSE(equal_ignoring_case("a", "ab"));
  EXPECT_FALSE(equal_ignoring_case("@", "`"));  // 32 apart, like the two cases of a letter
}

}  // namespace
}  // namespace r1::ascii_test
