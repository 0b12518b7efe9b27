#include "reward/number.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "formats/json.h"
#include "reward/response.h"

namespace r1::number_test {
namespace {

Verdict verify_number(const Json& gold, std::string_view response) {
  return judge_response(response, number_judge(gold));
}

Verdict verify_equation(const Json& gold, std::string_view response) {
  return judge_response(response, equation_judge(gold));
}

std::string wrap(const std::string& answer) {
  return "<think>hm</think><answer>" + answer + "</answer>";
}

std::string why(const Json& gold, const std::string& answer) {
  const Verdict verdict = verify_number(gold, wrap(answer));
  EXPECT_EQ(verdict.correct, verdict.why == "ok") << answer;
  EXPECT_TRUE(verdict.well_formed) << answer;
  return verdict.why;
}

TEST(Number, AcceptsEveryWayToWriteTheValue) {
  for (const char* answer : {"7/2", " 7/2\n", "7 / 2", "14/4", "3.5", "3.50", "3.5000000"}) {
    EXPECT_EQ(why("7/2", answer), "ok") << answer;
  }
  for (const char* answer : {"-12", "−12", " -12 ", "-24/2", "-12.0"})
    EXPECT_EQ(why("-12", answer), "ok") << answer;
  for (const char* answer : {"0", "-0", "0/5", "0.0"}) EXPECT_EQ(why("0", answer), "ok") << answer;
  EXPECT_EQ(why(Json(24), "24"), "ok");
  EXPECT_EQ(why(Json(2.5), "5/2"), "ok");
  EXPECT_EQ(why("9223372036854775807", "9223372036854775807"), "ok");
  EXPECT_EQ(why("1/1000000000000000000", "0.000000000000000001"), "ok");
}

TEST(Number, LeadingZerosPointsAndSignsChangeNothing) {
  for (const char* answer :
       {"016", "16", "+16", "16.", "16.0", "0016.00", "+ 16", "32/2", "032/02", "1.6e1", "160E-1"})
    EXPECT_EQ(why("16", answer), "ok") << answer;
  EXPECT_EQ(why("073", "73"), "ok");
  for (const char* answer : {".4", "0.4", "00.40", "2/5", "+.4", "4e-1"})
    EXPECT_EQ(why("0.4", answer), "ok") << answer;
  EXPECT_EQ(why("2/5", "-.4"), "wrong_value");
  EXPECT_EQ(why("-2/5", "-.4"), "ok");
  EXPECT_EQ(why("-5", "- 5"), "ok");
}

TEST(Number, ThousandsSeparatorsOnlyInGroupsOfThree) {
  for (const char* answer : {"7,425,000", "7{,}425{,}000", "7,\\!425,\\!000", "7\\,425\\,000",
                             "7\u202F425\u202F000", "7,425,000.00", "$7,425,000", "14,850,000/2"}) {
    EXPECT_EQ(why("7425000", answer), "ok") << answer;
  }
  EXPECT_EQ(why("7,425,000", "7425000"), "ok");
  EXPECT_EQ(why("11111111100", "11,\\! 111,\\! 111,\\! 100"), "ok");
  for (const char* answer : {"7,42", "1,2", "7,4250", "7,425,00", "7425,000", "7,425{,}000", "0,425",
                             "7,,425", "7, 425", "7,425,", "1.234,567", "7 425"}) {
    EXPECT_EQ(why("7425", answer), "bad_number:trailing_text") << answer;
  }
  EXPECT_EQ(why("1.234567", "1.234,567"), "bad_number:trailing_text");
}

TEST(Number, ACurrencySignCountsForNothing) {
  for (const char* answer :
       {"$24", "\\$24", "€24", "24 €", "24€", "£24.00", "$ 24", "+$24", "¥24", "₹24", "24$"})
    EXPECT_EQ(why("24", answer), "ok") << answer;
  for (const char* answer : {"-$24", "$-24", "−\\$24"}) EXPECT_EQ(why("-24", answer), "ok") << answer;
  EXPECT_EQ(why("$24", "24"), "ok");
  for (const char* answer : {"$24 $$", "$24€", "$24%", "-$-24", "24 USD"})
    EXPECT_NE(why("24", answer), "ok") << answer;
}

TEST(Number, APercentSignDividesBy100) {
  for (const char* answer : {"50%", "50\\%", "50 %", "0.5", "1/2", "$50\\%$", "050.0%", "50%."})
    EXPECT_EQ(why("50%", answer), "ok") << answer;
  EXPECT_EQ(why("0.5", "50%"), "ok");
  EXPECT_EQ(why("50", "50%"), "wrong_value");
  EXPECT_EQ(why("50%", "50"), "wrong_value");
  EXPECT_EQ(why("0.5", "0.5%"), "wrong_value");
  EXPECT_EQ(why("0.5", "50%%"), "bad_number:trailing_text");
}

TEST(Number, ReadsLatex) {
  for (const char* answer :
       {"\\frac{1}{2}",    "\\frac12",           "\\dfrac{1}{2}",         "\\tfrac12",
        "\\cfrac{2}{4}",   "\\frac 1 2",         "\\frac{ 1 } { 2 }",     "\\frac1{2}",
        "\\frac{1}2",      "$\\frac{1}{2}$",     "\\boxed{\\frac{1}{2}}", "\\boxed{0.5}",
        "$\\boxed{1/2}$.", "\\(\\frac{1}{2}\\)", "\\[ \\frac{1}{2} \\]",  "**1/2**",
        "\\text{0.5}",     "\\frac{-1}{-2}",     "\\frac{0.5}{1}",        "\\frac{1,000}{2,000}",
        "$$.5$$"}) {
    EXPECT_EQ(why("1/2", answer), "ok") << answer;
  }
  for (const char* answer :
       {"-\\frac{1}{2}", "-\\frac12", "\\frac{-1}{2}", "\\frac{1}{-2}", "- \\dfrac{1}{2}", "−\\frac12"})
    EXPECT_EQ(why("-1/2", answer), "ok") << answer;
  for (const char* answer : {"3\\frac{1}{2}", "3\\frac12", "3 \\frac{1}{2}"})
    EXPECT_EQ(why("7/2", answer), "ok") << answer;
  EXPECT_EQ(why("-7/2", "-3\\frac{1}{2}"), "ok");
  EXPECT_EQ(why("$\\frac{1}{2}$", "0.5"), "ok");
  for (const char* answer : {"\\frac{1}{2", "\\frac{1}", "\\frac", "\\frac{}{2}", "\\frac{a}{2}",
                             "\\frac{1}{2 3}", "\\frac{\\frac12}{3}", "3\\frac{3}{2}", "3\\frac{-1}{2}"}) {
    EXPECT_EQ(why("1/2", answer), "bad_number:bad_fraction") << answer;
  }
  EXPECT_EQ(why("1/2", "\\frac{1}{0}"), "bad_number:division_by_zero");
  EXPECT_EQ(why("1/2", "\\frac123"), "bad_number:trailing_text");
  EXPECT_EQ(why("1/2", "\\sqrt{2}"), "bad_number:not_a_number");
}

TEST(Number, GoldsOfAnySizeAreReadExactly) {
  EXPECT_EQ(why("123456789012345678901234567890", "123456789012345678901234567890"), "ok");
  EXPECT_EQ(why("123456789012345678901234567890", "123456789012345678901234567891"), "wrong_value");
  const Json golds =
      parse_json("[123456789012345678901234567890, 0.1000, 1e400, 9007199254740993.0]", "golds");
  EXPECT_EQ(why(golds.at(0), "123,456,789,012,345,678,901,234,567,890"), "ok");
  EXPECT_EQ(why(golds.at(0), "123456789012345680000000000000"), "wrong_value");
  EXPECT_EQ(why(golds.at(1), "1/10"), "ok");
  EXPECT_EQ(why(golds.at(2), "1" + std::string(400, '0')), "ok");
  EXPECT_EQ(why(golds.at(2), "1" + std::string(399, '0') + "1"), "wrong_value");
  EXPECT_EQ(why(golds.at(3), "9007199254740993"), "ok");
  EXPECT_EQ(why(golds.at(3), "9007199254740992"), "wrong_value");
}

TEST(Number, ABoxedAnswerBehindTheThoughtCounts) {
  const auto judge = [](const std::string& behind) {
    return verify_number("1/2", "<think>x</think>" + behind);
  };
  const Verdict right = judge("\nIt is \\boxed{\\frac{1}{2}}.");
  EXPECT_TRUE(right.correct);
  EXPECT_FALSE(right.well_formed) << "the format reward is for the tags";
  EXPECT_EQ(right.why, "ok");
  EXPECT_EQ(judge("\\boxed{1}, no: \\boxed{1/2}").why, "ok") << "the last one counts";
  EXPECT_EQ(judge("\\boxed{1/2}, no: \\boxed{1}").why, "wrong_value");
  EXPECT_EQ(judge("\\boxed{1/2").why, "no_answer") << "cut off";
  EXPECT_EQ(judge("so 1/2").why, "no_answer");
  EXPECT_EQ(judge("\\boxed{1/2}</answer>").why, "no_answer");
  EXPECT_EQ(judge("<answer>1/3</answer> \\boxed{1/2}").why, "text_after_answer")
      << "no second chance beside the tags";
  EXPECT_EQ(judge("\\boxed{1/2}<answer>1/3</answer>").why, "text_before_answer");
  EXPECT_EQ(verify_number("1/2", "\\boxed{1/2}").why, "no_think");
  EXPECT_EQ(verify_number("1/2", "<think>\\boxed{1/2}</think>").why, "no_answer") << "a thought is no answer";
  EXPECT_EQ(verify_number("1/2", "<think>\\boxed{1/2}").why, "truncated");
  EXPECT_EQ(why("1/2", "It is \\boxed{1/2}"), "bad_number:not_a_number")
      << "inside the tags: one value, nothing else";
}

TEST(Number, RefusesEverythingElseAndSaysWhy) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"25", "wrong_value"},
      {"-24", "wrong_value"},
      {"2/4", "wrong_value"},
      {"", "bad_number:empty"},
      {" \n", "bad_number:empty"},
      {"--24", "bad_number:not_a_number"},
      {"+-24", "bad_number:not_a_number"},
      {"-−24", "bad_number:not_a_number"},
      {"twenty-four", "bad_number:not_a_number"},
      {"$", "bad_number:not_a_number"},
      {".", "bad_number:not_a_number"},
      {"x = 24", "bad_number:not_a_number"},
      {"(24)", "bad_number:not_a_number"},
      {"24/", "bad_number:not_a_number"},
      {"48/-2", "bad_number:not_a_number"},
      {"/2", "bad_number:not_a_number"},
      {"24/0", "bad_number:division_by_zero"},
      {"24..", "bad_number:trailing_text"},
      {"24.0.0", "bad_number:trailing_text"},
      {"24 25", "bad_number:trailing_text"},
      {"24, 25", "bad_number:trailing_text"},
      {"24 or 25", "bad_number:trailing_text"},
      {"24 km", "bad_number:trailing_text"},
      {"2,400", "wrong_value"},
      {"4*6", "bad_number:trailing_text"},
      {"23+1", "bad_number:trailing_text"},
      {"24 = 24", "bad_number:trailing_text"},
      {"48/2/1", "bad_number:trailing_text"},
      {"48/2.0", "bad_number:trailing_text"},
      {"24 1/2", "bad_number:trailing_text"},
      {std::string("24\0", 3), "bad_number:trailing_text"},
      {"99999999999999999999999999", "wrong_value"},
      {"24e1001", "bad_number:number_too_large"},
      {"24e99999999999999999999", "bad_number:number_too_large"},
      {std::string(1025, '2'), "bad_number:too_long"},
  };
  for (const auto& [answer, want] : cases) EXPECT_EQ(why("24", answer), want) << answer;
}

TEST(Number, WantsTheFormat) {
  EXPECT_EQ(verify_number("24", "24").why, "no_think");
  EXPECT_EQ(verify_number("24", "<think>24</think>").why, "no_answer");
  EXPECT_EQ(verify_number("24", wrap("24") + wrap("24")).why, "repeated_tag");
  EXPECT_EQ(verify_number("24", wrap("24") + ".").why, "text_after_answer");
  EXPECT_FALSE(verify_number("24", "<answer>24</answer>").well_formed);
}

TEST(Number, BadGoldsAreErrors) {
  for (const Json& gold :
       {Json("x"), Json(""), Json("1/0"), Json(true), Json(), Json::array(), Json("1 2")}) {
    EXPECT_THROW(verify_number(gold, wrap("1")), Error) << gold.dump();
    EXPECT_THROW(verify_number(gold, "not well formed"), Error) << gold.dump();
  }
}

TEST(Equation, TakesTheNumberOrTheUnknownEqualToIt) {
  const Json gold = parse_json(R"({"unknown":"x","value":"-7/2"})", "gold");
  const auto judge = [&](const std::string& answer) { return verify_equation(gold, wrap(answer)).why; };
  for (const char* answer : {"-7/2", "x=-7/2", "x = -3.5", " x =\n-7/2 "})
    EXPECT_EQ(judge(answer), "ok") << answer;
  EXPECT_EQ(judge("x = 7/2"), "wrong_value");
  for (const char* answer : {"y = -7/2", "X = -7/2", "x", "x -7/2", "xx = -7/2", "x == -7/2", "x = x = -7/2",
                             "the solution is x = -7/2"}) {
    EXPECT_EQ(judge(answer), "bad_number:not_a_number") << answer;
  }
  for (const char* answer : {"-7/2 = x", "x = -7/2, x = 1", "x = -7/2 or x = 2"}) {
    EXPECT_EQ(judge(answer), "bad_number:trailing_text") << answer;
  }
  EXPECT_EQ(judge("x ="), "bad_number:empty");
  for (const char* bad : {R"({"value":"1"})", R"({"unknown":"x"})", R"({"unknown":"","value":"1"})",
                          R"({"unknown":"3","value":"1"})", R"({"unknown":"x","value":"y"})", "\"1\""}) {
    EXPECT_THROW(verify_equation(parse_json(bad, "gold"), wrap("1")), Error) << bad;
  }
}

// Fractions and decimals have the values that their digits give, compared by cross-multiplication.
TEST(Number, ReadsWhatIsWritten) {
  Random random(4);
  for (int i = 0; i < 20'000; ++i) {
    const int64_t num = random.between(-99'999, 99'999), den = random.between(1, 999);
    const int64_t decimals = random.below(1000);
    const NumberText fraction = read_number(std::to_string(num) + "/" + std::to_string(den));
    ASSERT_TRUE(fraction.ok());
    ASSERT_TRUE(fraction.value.num() * Integer(den) == Integer(num) * fraction.value.den());
    const std::string digits = std::to_string(1000 + decimals).substr(1);
    const NumberText decimal = read_number(std::to_string(num) + "." + digits);
    ASSERT_TRUE(decimal.ok());
    const int64_t thousandths = std::abs(num) * 1000 + decimals;
    ASSERT_TRUE(decimal.value.num() * Integer(1000) ==
                Integer(num < 0 ? -thousandths : thousandths) * decimal.value.den());
  }
}

}  // namespace
}  // namespace r1::number_test
