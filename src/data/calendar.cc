// data/calendar.cc: the weekday of a date, the days between two dates, the date some days before or after.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "data/date.h"
#include "data/phrasing.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

enum class Kind { weekday, between, after, before };

struct Level {
  int first_year, last_year;
  int64_t most_days;  // of a span
};
constexpr std::array<Level, 3> kLevels{{{2000, 2039, 60}, {1900, 2100, 1000}, {1000, 2999, 200'000}}};
constexpr int kFirstGregorian = 1583;  // its first whole year; before it the question names the calendar

// A question about a span asks for between, after or before. Each answers the others, so they share a
// content.
struct Drawn {
  Kind kind = Kind::weekday;
  int64_t first = 0, last = 0;  // day numbers, first < last; the weekday asked for is that of `last`
  std::string key;
};

Drawn draw(Random& random, const Level& level) {
  const int64_t begin = day_number({.year = level.first_year, .month = 1, .day = 1});
  const int64_t end = day_number({.year = level.last_year, .month = 12, .day = 31});
  Drawn out;
  out.kind = pick(random, std::array{Kind::weekday, Kind::between, Kind::after, Kind::before});
  const int64_t days = random.between(2, level.most_days);
  out.first = random.between(begin, end - days);
  out.last = out.first + days;
  out.key = out.kind == Kind::weekday
                ? "calendar weekday " + iso_text(date_of(out.last))
                : "calendar span " + iso_text(date_of(out.first)) + " " + iso_text(date_of(out.last));
  return out;
}

std::string write(int64_t style, int64_t day) {
  const Date date = date_of(day);
  const std::string_view month = kMonths[static_cast<size_t>(date.month - 1)];
  if (style == 0) return iso_text(date);
  if (style == 1) return fmt::format("{} {} {}", date.day, month, date.year);
  return fmt::format("{} {}, {}", month, date.day, date.year);
}

constexpr auto kWeekdayForms = std::to_array<std::string_view>({
    "What day of the week is $b$c?",
    "[Which|What] weekday is $b$c?",
    "$b$c: which day of the week?",
    "[Find|Give|Tell me] the [weekday|day of the week] of $b$c.",
    "On [which|what] day of the week does $b fall$c?",
    "what weekday [is|falls on] $b$c",
});
constexpr auto kKnownWeekdayForms = std::to_array<std::string_view>({
    "If $a is a $w, what day of the week is $b?",
    "$a is a $w. [What|Which] [weekday|day of the week] is $b?",
    "Given that $a falls on a $w, on which weekday does $b fall?",
    "[Find|Give] the day of the week of $b; $a is a $w.",
});
constexpr auto kBetweenForms = std::to_array<std::string_view>({
    "How many days is it from $a to $b$c?",
    "How many days after $a is $b$c?",
    "How many days before $b is $a$c?",
    "[Count|Find|Give] the [number of |]days from $a [to|until] $b$c.",
    "days from $a to $b$c",
    "It is $a. How many days [later is|until] $b$c?",
});
constexpr auto kAfterForms = std::to_array<std::string_view>({
    "[What|Which] date is $n days after $a$c?",
    "[What|Which] date comes $n days later than $a$c?",
    "Add $n days to $a$c.",
    "$a plus $n days$c",
    "It is $a. What [is the date|date is it|will the date be] in $n days$c?",
    "[Find|Give] the date $n days after $a$c.",
});
constexpr auto kBeforeForms = std::to_array<std::string_view>({
    "[What|Which] date is $n days before $b$c?",
    "[What|Which] date comes $n days earlier than $b$c?",
    "Subtract $n days from $b$c.",
    "$b minus $n days$c",
    "It is $b. What was the date $n days ago$c?",
    "[Find|Give] the date $n days before $b$c.",
});

Json gold_of(const Drawn& drawn) {
  Json gold = Json::object();
  switch (drawn.kind) {
    case Kind::weekday:
      return gold.set("weekday", weekday_of(drawn.last));
    case Kind::between:
      return gold.set("days", drawn.last - drawn.first);
    case Kind::after:
      return gold.set("date", iso_text(date_of(drawn.last)));
    case Kind::before:
      break;
  }
  return gold.set("date", iso_text(date_of(drawn.first)));
}

std::span<const std::string_view> forms_of(Kind kind, bool known) {
  switch (kind) {
    case Kind::weekday:
      return known ? std::span<const std::string_view>(kKnownWeekdayForms) : kWeekdayForms;
    case Kind::between:
      return kBetweenForms;
    case Kind::after:
      return kAfterForms;
    case Kind::before:
      break;
  }
  return kBeforeForms;
}

}  // namespace

Problem make_calendar(Random& random, int level, Split split) {
  const Level& range = kLevels[static_cast<size_t>(level - 1)];
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, range); });
  const int64_t style = random.below(3);
  const bool proleptic = date_of(drawn.first).year < kFirstGregorian;
  // The easy level gives a nearby weekday to count from.
  const auto forms = forms_of(drawn.kind, level == 1);
  return {.task = "calendar",
          .question = phrase(random, forms,
                             {{'a', write(style, drawn.first)},
                              {'b', write(style, drawn.last)},
                              {'n', std::to_string(drawn.last - drawn.first)},
                              {'w', std::string(weekday_of(drawn.first))},
                              {'c', proleptic ? " in the proleptic Gregorian calendar" : ""}}),
          .gold = gold_of(drawn).dump(),
          .key = drawn.key};
}

}  // namespace r1
