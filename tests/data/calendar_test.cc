// Checks dates by stepping from day to day, and weekdays by Zeller's congruence.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "data/date.h"
#include "tests/data/task_test_util.h"

namespace r1::calendar_test {
namespace {

bool is_leap(int year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int days_in(int year, int month) {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

Date next_day(Date date) {
  if (++date.day <= days_in(date.year, date.month)) return date;
  date.day = 1;
  if (++date.month <= 12) return date;
  date.month = 1;
  ++date.year;
  return date;
}

std::string zeller(const Date& date) {
  const int month = date.month < 3 ? date.month + 12 : date.month;
  const int year = date.month < 3 ? date.year - 1 : date.year;
  const int century = year / 100, k = year % 100;
  const int h = (date.day + 13 * (month + 1) / 5 + k + k / 4 + century / 4 + 5 * century) % 7;
  constexpr std::array<const char*, 7> kNames{"Saturday",  "Sunday",   "Monday", "Tuesday",
                                              "Wednesday", "Thursday", "Friday"};
  return kNames.at(static_cast<size_t>(h));
}

TEST(Date, AgreesWithCountingDayByDay) {
  Date date{.year = 1, .month = 1, .day = 1};
  int64_t number = day_number(date);
  for (; date.year <= 9999; date = next_day(date), ++number) {
    ASSERT_EQ(day_number(date), number) << iso_text(date);
    ASSERT_EQ(date_of(number), date) << number;
    ASSERT_EQ(weekday_of(number), zeller(date)) << iso_text(date);
    ASSERT_TRUE(is_date(date));
  }
  EXPECT_EQ(day_number({.year = 1970, .month = 1, .day = 1}), 0);
  EXPECT_EQ(weekday_of(day_number({.year = 1969, .month = 7, .day = 20})), "Sunday");
  EXPECT_EQ(iso_text({.year = 33, .month = 4, .day = 3}), "0033-04-03");
  for (const Date& wrong : {Date{2023, 2, 29}, Date{1900, 2, 29}, Date{2000, 0, 1}, Date{2000, 13, 1},
                            Date{2000, 4, 31}, Date{2000, 1, 0}, Date{0, 1, 1}, Date{10000, 1, 1},
                            Date{2000, -3, 5}, Date{2000, 257, 1}, Date{2000, 1, 257}}) {
    EXPECT_FALSE(is_date(wrong)) << wrong.year << " " << wrong.month << " " << wrong.day;
  }
  EXPECT_TRUE(is_date({2000, 2, 29}));
  EXPECT_THROW(day_number({2023, 2, 29}), BrokenInvariant);
}

// Takes the dates of a question out of its text and returns them in order.
std::vector<Date> take_dates(std::string& question) {
  std::vector<std::string> words = test::words_of(question);
  std::vector<Date> dates;
  question.clear();
  for (size_t i = 0; i < words.size(); ++i) {
    int month = 0;
    for (size_t m = 0; m < kMonths.size(); ++m) {
      if (words[i] == kMonths[m]) month = static_cast<int>(m + 1);
    }
    const std::vector<int64_t> iso = test::integers_of(words[i]);
    if (iso.size() == 3) {
      dates.push_back({static_cast<int>(iso[0]), static_cast<int>(iso[1]), static_cast<int>(iso[2])});
    } else if (month != 0 && words[i + 1].find(',') != std::string::npos) {  // March 1, 2024
      dates.push_back({std::stoi(words.at(i + 2)), month, std::stoi(words.at(i + 1))});
      i += 2;
    } else if (month != 0) {  // 1 March 2024
      dates.push_back({std::stoi(words.at(i + 1)), month, std::stoi(words.at(i - 1))});
      question.resize(question.rfind(words[i - 1]));
      i += 1;
    } else {
      question += words[i] + " ";
    }
  }
  return dates;
}

int64_t days_between(Date first, const Date& last) {
  int64_t days = 0;
  for (; !(first == last); first = next_day(first)) {
    ++days;
    if (days > 400'000) return -1;
  }
  return days;
}

TEST(Calendar, GoldFollowsFromTheDatesOfTheQuestion) {
  std::map<std::string, int> kinds;
  test::for_problems("calendar", 300, [&](const Problem& problem, const Json& gold) {
    std::string rest = problem.question;
    const std::vector<Date> dates = take_dates(rest);
    ASSERT_FALSE(dates.empty());
    for (const Date& date : dates) {
      ASSERT_TRUE(is_date(date));
      if (date.year < 1583) {
        ASSERT_NE(rest.find("proleptic Gregorian"), std::string::npos);
      }
    }
    const std::vector<int64_t> numbers = test::integers_of(rest);
    if (gold.contains("weekday")) {
      ++kinds["weekday"];
      // If a weekday is given, it is that of the other date.
      const bool asked_first = rest.starts_with("Find the day") || rest.starts_with("Give the day");
      const Date& asked = dates.size() == 2 && !asked_first ? dates[1] : dates[0];
      ASSERT_EQ(gold.get_string("weekday"), zeller(asked));
      if (dates.size() == 2) {
        ASSERT_NE(rest.find(zeller(asked_first ? dates[1] : dates[0])), std::string::npos);
      }
      return;
    }
    if (gold.contains("days")) {
      ++kinds["days"];
      ASSERT_EQ(dates.size(), 2u);
      const bool later_first = rest.find("How many days before") != std::string::npos;
      ASSERT_EQ(gold.get_int("days"), days_between(dates[later_first ? 1 : 0], dates[later_first ? 0 : 1]));
      return;
    }
    ASSERT_EQ(dates.size(), 1u);
    ASSERT_EQ(numbers.size(), 1u);
    const std::vector<int64_t> iso = test::integers_of(gold.get_string("date"));
    const Date answer{static_cast<int>(iso.at(0)), static_cast<int>(iso.at(1)), static_cast<int>(iso.at(2))};
    bool back = false;
    for (const char* word : {"before", "earlier", "Subtract", "minus", "ago"}) {
      back = back || rest.find(word) != std::string::npos;
    }
    ++kinds[back ? "before" : "after"];
    ASSERT_EQ(back ? days_between(answer, dates[0]) : days_between(dates[0], answer), numbers[0]);
  });
  ASSERT_EQ(kinds.size(), 4u);
  for (const auto& [kind, count] : kinds) EXPECT_GT(count, 300) << kind;
}

}  // namespace
}  // namespace r1::calendar_test
