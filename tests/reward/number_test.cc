#include "reward/number.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "formats/json.h"

namespace r1 {
namespace {

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
  EXPECT_EQ(why("9223372036854775807", "9223372036854775807"), "ok");
  EXPECT_EQ(why("1/1000000000000000000", "0.000000000000000001"), "ok");
}

TEST(Number, RefusesEverythingElseAndSaysWhy) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"25", "wrong_value"},
      {"-24", "wrong_value"},
      {"2/4", "wrong_value"},
      {"", "bad_number:empty"},
      {" \n", "bad_number:empty"},
      {"+24", "bad_number:not_a_number"},
      {"--24", "bad_number:not_a_number"},
      {"- 24", "bad_number:not_a_number"},
      {"-−24", "bad_number:not_a_number"},
      {"twenty-four", "bad_number:not_a_number"},
      {"$24", "bad_number:not_a_number"},
      {"x = 24", "bad_number:not_a_number"},
      {"(24)", "bad_number:not_a_number"},
      {".5", "bad_number:not_a_number"},
      {"24/", "bad_number:not_a_number"},
      {"48/-2", "bad_number:not_a_number"},
      {"/2", "bad_number:not_a_number"},
      {"024", "bad_number:leading_zero"},
      {"24/01", "bad_number:leading_zero"},
      {"24/0", "bad_number:division_by_zero"},
      {"24.", "bad_number:trailing_text"},
      {"24.0.0", "bad_number:trailing_text"},
      {"24 25", "bad_number:trailing_text"},
      {"24, 25", "bad_number:trailing_text"},
      {"24 or 25", "bad_number:trailing_text"},
      {"24 km", "bad_number:trailing_text"},
      {"2,400", "bad_number:trailing_text"},
      {"24e0", "bad_number:trailing_text"},
      {"4*6", "bad_number:trailing_text"},
      {"23+1", "bad_number:trailing_text"},
      {"24 = 24", "bad_number:trailing_text"},
      {"48/2/1", "bad_number:trailing_text"},
      {"48/2.0", "bad_number:trailing_text"},
      {"24 1/2", "bad_number:trailing_text"},
      {std::string("24\0", 3), "bad_number:trailing_text"},
      {"9223372036854775808", "bad_number:number_too_large"},
      {"1/9223372036854775808", "bad_number:number_too_large"},
      {"0.00000000000000000001", "bad_number:number_too_large"},
      {"99999999999999999999999999", "bad_number:number_too_large"},
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
  for (const Json& gold : {Json("x"), Json(""), Json("1/0"), Json(2.5), Json(), Json::array(), Json("1 2")}) {
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

// Another way to read a number: as long as it is short, by hand with doubles that are exact.
TEST(Number, ReadsWhatIsWritten) {
  Random random(4);
  for (int i = 0; i < 20'000; ++i) {
    const int64_t num = random.between(-99'999, 99'999), den = random.between(1, 999);
    const int64_t decimals = random.below(1000);
    const NumberText fraction = read_number(std::to_string(num) + "/" + std::to_string(den));
    ASSERT_TRUE(fraction.ok());
    ASSERT_EQ(static_cast<double>(fraction.value.num) * static_cast<double>(den),
              static_cast<double>(num) * static_cast<double>(fraction.value.den));
    const std::string digits = std::to_string(1000 + decimals).substr(1);
    const NumberText decimal = read_number(std::to_string(num) + "." + digits);
    ASSERT_TRUE(decimal.ok());
    const int64_t thousandths = std::abs(num) * 1000 + decimals;
    ASSERT_EQ(decimal.value.num * 1000, (num < 0 ? -thousandths : thousandths) * decimal.value.den);
  }
}

}  // namespace
}  // namespace r1
