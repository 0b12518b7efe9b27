// data/date.h: dates of the proleptic Gregorian calendar, years 1 to 9999, and their day numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace r1 {

struct Date {
  int year = 1;
  int month = 1;  // 1 .. 12
  int day = 1;    // 1 .. 31
  bool operator==(const Date&) const = default;
};

inline constexpr std::array<std::string_view, 7> kWeekdays{"Monday", "Tuesday",  "Wednesday", "Thursday",
                                                           "Friday", "Saturday", "Sunday"};
inline constexpr std::array<std::string_view, 12> kMonths{"January",   "February", "March",    "April",
                                                          "May",       "June",     "July",     "August",
                                                          "September", "October",  "November", "December"};

bool is_date(const Date& date);        // true if the day exists, in years 1 to 9999
int64_t day_number(const Date& date);  // days since 1970-01-01; the date must be real
Date date_of(int64_t day_number);      // of a day in years 1 to 9999
std::string_view weekday_of(int64_t day_number);
std::string iso_text(const Date& date);  // "2024-03-01"

}  // namespace r1
