#include "data/date.h"

#include <fmt/format.h>

#include <chrono>

#include "base/error.h"

namespace r1 {
namespace {

std::chrono::year_month_day civil(const Date& date) {
  return std::chrono::year(date.year) / date.month / date.day;
}

}  // namespace

bool is_date(const Date& date) {
  const bool in_range = date.year >= 1 && date.year <= 9999 && date.month >= 1 && date.month <= 12 &&
                        date.day >= 1 && date.day <= 31;
  return in_range && civil(date).ok();
}

int64_t day_number(const Date& date) {
  R1_CHECK(is_date(date), date.year, "-", date.month, "-", date.day);
  return std::chrono::sys_days(civil(date)).time_since_epoch().count();
}

Date date_of(int64_t day_number) {
  const std::chrono::year_month_day day{std::chrono::sys_days{std::chrono::days{day_number}}};
  const Date date{.year = int{day.year()},
                  .month = static_cast<int>(unsigned{day.month()}),
                  .day = static_cast<int>(unsigned{day.day()})};
  R1_CHECK(is_date(date), "day ", day_number);
  return date;
}

std::string_view weekday_of(int64_t day_number) {
  constexpr int64_t kThursday = 3;  // 1970-01-01
  return kWeekdays[static_cast<size_t>(((day_number + kThursday) % 7 + 7) % 7)];
}

std::string iso_text(const Date& date) {
  return fmt::format("{:04}-{:02}-{:02}", date.year, date.month, date.day);
}

}  // namespace r1
