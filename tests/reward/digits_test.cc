#include "reward/digits.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "formats/json.h"
#include "reward/response.h"

namespace r1::digits_test {
namespace {

Verdict verify_digits(const Json& gold, std::string_view response) {
  return judge_response(response, digits_judge(gold));
}

std::string why(int base, const std::string& digits, const std::string& answer) {
  const Json gold = Json::object().set("base", base).set("digits", digits);
  const Verdict verdict = verify_digits(gold, "<think></think><answer>" + answer + "</answer>");
  EXPECT_EQ(verdict.correct, verdict.why == "ok") << answer;
  return verdict.why;
}

TEST(Digits, AcceptsEitherCasePrefixesAndZerosInFront) {
  for (const char* answer : {"ff", "FF", "fF", " ff\n", "0xff", "0XFF", "00ff", "0x00ff"}) {
    EXPECT_EQ(why(16, "ff", answer), "ok") << answer;
  }
  for (const char* answer : {"101", "0b101", "0B101", "00000101"})
    EXPECT_EQ(why(2, "101", answer), "ok") << answer;
  for (const char* answer : {"17", "0o17", "0O17", "017"}) EXPECT_EQ(why(8, "17", answer), "ok") << answer;
  EXPECT_EQ(why(10, "42", "42"), "ok");
  EXPECT_EQ(why(12, "b1", "0b1"), "ok");  // digits of base 12, not a prefix
  EXPECT_EQ(why(2, "0", "0"), "ok");
  EXPECT_EQ(why(2, "0", "0b0"), "ok");
  const std::string zeros(100'000, '0');
  EXPECT_EQ(why(16, "ff", zeros + "ff"), "ok");
}

TEST(Digits, RefusesEverythingElseAndSaysWhy) {
  EXPECT_EQ(why(16, "ff", "fe"), "wrong_value");
  EXPECT_EQ(why(16, "ff", "f"), "wrong_value");
  EXPECT_EQ(why(16, "ff", "fff"), "wrong_value");
  EXPECT_EQ(why(16, "ff", "255"), "wrong_value");
  EXPECT_EQ(why(16, "b1", "1"), "wrong_value");
  EXPECT_EQ(why(2, "101", "5"), "bad_digits:digit_beyond_base");
  EXPECT_EQ(why(10, "42", "0x2a"), "bad_digits:unknown_character");
  EXPECT_EQ(why(10, "42", "2a"), "bad_digits:digit_beyond_base");
  EXPECT_EQ(why(2, "101", "0x5"), "bad_digits:unknown_character");
  for (const char* answer : {"", "  ", "0x"}) EXPECT_EQ(why(16, "ff", answer), "bad_digits:empty") << answer;
  for (const char* answer :
       {"ff ff", "ff (hex)", "ff, fe", "fg", "-ff", "ff.0", "f f", "0x0xff", "ff_16", "ﬀ"}) {
    EXPECT_EQ(why(16, "ff", answer), "bad_digits:unknown_character") << answer;
  }
  EXPECT_EQ(verify_digits(Json::object().set("base", 16).set("digits", "ff"), "ff").why, "no_think");
}

TEST(Digits, BadGoldsAreErrors) {
  for (const char* gold :
       {R"({"base":17,"digits":"1"})", R"({"base":1,"digits":"1"})", R"({"base":2,"digits":"2"})",
        R"({"base":2,"digits":""})", R"({"base":2})", R"({"digits":"1"})", R"({"base":"2","digits":"1"})",
        R"({"base":10,"digits":-1})", "\"101\"", "[]"}) {
    EXPECT_THROW(verify_digits(parse_json(gold, "gold"), "<think></think><answer>1</answer>"), Error) << gold;
  }
}

}  // namespace
}  // namespace r1::digits_test
