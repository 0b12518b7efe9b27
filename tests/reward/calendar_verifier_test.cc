#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "formats/json.h"
#include "reward/calendar.h"
#include "reward/response.h"

namespace r1::calendar_verifier_test {
namespace {

Verdict verify_calendar(const Json& gold, std::string_view response) {
  return judge_response(response, calendar_judge(gold));
}

std::string why(const std::string& gold, const std::string& answer) {
  const Verdict verdict =
      verify_calendar(parse_json(gold, "gold"), "<think></think><answer>" + answer + "</answer>");
  EXPECT_EQ(verdict.correct, verdict.why == "ok") << answer;
  return verdict.why;
}

TEST(CalendarVerifier, Weekdays) {
  const std::string gold = R"({"weekday":"Friday"})";
  for (const char* answer : {"Friday", "friday", "FRIDAY", " Friday\n"})
    EXPECT_EQ(why(gold, answer), "ok") << answer;
  EXPECT_EQ(why(gold, "Monday"), "wrong_value");
  for (const char* answer :
       {"", "Fri", "Friday.", "Friday or Monday", "Friday Monday", "It is Friday", "5", "Fridayy"}) {
    EXPECT_EQ(why(gold, answer), "bad_weekday") << answer;
  }
}

TEST(CalendarVerifier, Dates) {
  const std::string gold = R"({"date":"2024-03-01"})";
  for (const char* answer :
       {"2024-03-01", "2024-3-1", "2024-03-1", "1 March 2024", "01 march 2024", "March 1, 2024",
        "MARCH 1 2024", "1 Mar 2024", "Mar 1, 2024", "  1   March\n2024 "}) {
    EXPECT_EQ(why(gold, answer), "ok") << answer;
  }
  for (const char* answer : {"2024-03-02", "2 March 2024", "March 1, 2023", "2024-01-03"}) {
    EXPECT_EQ(why(gold, answer), "wrong_value") << answer;
  }
  for (const char* answer : {"",
                             "2024-02-30",
                             "2023-02-29",
                             "31 April 2024",
                             "2024-13-01",
                             "2024-00-01",
                             "2024-03-00",
                             "24-03-01x",
                             "2024/03/01",
                             "01.03.2024",
                             "1. March 2024",
                             "1st March 2024",
                             "March 2024",
                             "1 March 2024, Friday",
                             "Friday, 1 March 2024",
                             "2024-03-01 2024-03-01",
                             "2024-03-01.",
                             "+2024-03-01",
                             "2024--03-01",
                             "02024-03-01",
                             "2024-003-01",
                             "2024-03 -01",
                             "1, March 2024",
                             "March, 1 2024",
                             "March 1,, 2024",
                             "1 Marc 2024",
                             "March 1 , 2024",
                             "2024 March 1",
                             "-",
                             "--",
                             "0-0-0",
                             "99999 March 1"}) {
    EXPECT_EQ(why(gold, answer), "bad_date") << answer;
  }
}

TEST(CalendarVerifier, Days) {
  const std::string gold = R"({"days":59})";
  for (const char* answer : {"59", " 59 ", "59.0", "118/2"}) EXPECT_EQ(why(gold, answer), "ok") << answer;
  EXPECT_EQ(why(gold, "60"), "wrong_value");
  EXPECT_EQ(why(gold, "-59"), "wrong_value");
  EXPECT_EQ(why(gold, "59 days"), "bad_number:trailing_text");
  EXPECT_EQ(why(gold, "59, 60"), "bad_number:trailing_text");
}

TEST(CalendarVerifier, WantsTheFormatAndAGoodGold) {
  EXPECT_EQ(verify_calendar(parse_json(R"({"days":59})", "gold"), "59").why, "no_think");
  for (const char* gold :
       {"{}", R"({"weekday":"Freitag"})", R"({"weekday":"friday"})", R"({"weekday":5})", R"({"days":"59"})",
        R"({"date":"2023-02-29"})", R"({"date":59})", "\"Friday\"", "59"}) {
    EXPECT_THROW(verify_calendar(parse_json(gold, "gold"), "<think></think><answer>1</answer>"), Error)
        << gold;
  }
}

}  // namespace
}  // namespace r1::calendar_verifier_test
