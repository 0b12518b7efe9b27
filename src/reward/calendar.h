// reward/calendar.h: checking weekdays, numbers of days and dates. Total: any bytes give a verdict.
#pragma once

#include <optional>
#include <string_view>

#include "data/date.h"
#include "reward/response.h"
#include "reward/verdict.h"

namespace r1 {

class Json;

// "2024-03-01" (zeros in front of month and day may be missing), "1 March 2024", "March 1, 2024", "March 1
// 2024"; months by their names or first three letters, in any case. Nothing where the text is none of these,
// or there is no such day.
std::optional<Date> read_date(std::string_view text);

// Gold {"weekday":"Friday"}, {"days":59} or {"date":"2024-03-01"}; Error where it is none. The answer is the
// English name of the weekday in any case, a number (number.h), or a date as above. `why` is "ok", one of
// response.h's reasons, bad_weekday, bad_number:<...>, bad_date or wrong_value.
AnswerJudge calendar_judge(const Json& gold);

}  // namespace r1
