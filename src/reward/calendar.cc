#include "reward/calendar.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/json.h"
#include "reward/number.h"

namespace r1 {
namespace {

constexpr size_t kMostParts = 3;

struct Parts {
  std::array<std::string_view, kMostParts> text;
  size_t count = 0;
};

// The text between the separators, of which any number counts as one where they are blanks.
Parts split_blanks(std::string_view text) {
  Parts parts;
  for (text = trim(text); !text.empty(); text = trim(text)) {
    if (parts.count == kMostParts) return {};
    const size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
    parts.text[parts.count++] = text.substr(0, end);
    text.remove_prefix(end);
  }
  return parts;
}

// 1 to `most` digits; -1 where it is anything else.
int read_small(std::string_view text, size_t most) {
  if (text.empty() || text.size() > most || !std::ranges::all_of(text, is_digit)) return -1;
  int value = 0;
  for (const char c : text) value = value * 10 + (c - '0');
  return value;
}

int read_month(std::string_view name) {
  for (size_t i = 0; i < kMonths.size(); ++i) {
    if (equal_ignoring_case(name, kMonths[i]) || equal_ignoring_case(name, kMonths[i].substr(0, 3))) {
      return static_cast<int>(i + 1);
    }
  }
  return -1;
}

Date read_iso(std::string_view text) {
  const size_t first = text.find('-'), second = text.find('-', first + 1);
  return {.year = read_small(text.substr(0, first), 4),
          .month = read_small(text.substr(first + 1, second - first - 1), 2),
          .day = read_small(text.substr(second + 1), 2)};
}

std::string judge_weekday(std::string_view answer, std::string_view gold) {
  const std::string_view name = trim(answer);
  for (const std::string_view weekday : kWeekdays) {
    if (equal_ignoring_case(name, weekday)) return weekday == gold ? "ok" : "wrong_value";
  }
  return "bad_weekday";
}

std::string judge_date(std::string_view answer, const Date& gold) {
  const auto date = read_date(answer);
  if (!date) return "bad_date";
  return *date == gold ? "ok" : "wrong_value";
}

}  // namespace

std::optional<Date> read_date(std::string_view text) {
  text = trim(text);
  Date date{.year = -1};
  if (std::ranges::count(text, '-') == 2) {
    date = read_iso(text);
  } else if (const Parts parts = split_blanks(text); parts.count == kMostParts) {
    const bool month_first = !parts.text[0].empty() && is_letter(parts.text[0][0]);
    std::string_view day = parts.text[month_first ? 1 : 0];
    if (month_first && day.ends_with(',')) day.remove_suffix(1);
    date = {.year = read_small(parts.text[2], 4),
            .month = read_month(parts.text[month_first ? 0 : 1]),
            .day = read_small(day, 2)};
  }
  return is_date(date) ? std::optional(date) : std::nullopt;
}

AnswerJudge calendar_judge(const Json& gold) {
  if (const Json* weekday = gold.find("weekday")) {
    const std::string& name = weekday->string();
    if (std::ranges::find(kWeekdays, name) == kWeekdays.end()) weekday->fail("is no weekday's English name");
    return [name](std::string_view answer) { return judge_weekday(answer, name); };
  }
  if (const Json* days = gold.find("days")) {
    return
        [value = Fraction(days->integer())](std::string_view answer) { return judge_number(answer, value); };
  }
  const Json* field = gold.find("date");
  if (field == nullptr) gold.fail("needs weekday, days or date");
  const auto date = read_date(field->string());
  if (!date) field->fail("is no date like 2024-03-01");
  return [date = *date](std::string_view answer) { return judge_date(answer, date); };
}

}  // namespace r1
