#include "reward/number.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <string>

#include "base/ascii.h"
#include "formats/json.h"
#include "reward/response.h"

namespace r1 {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

// Takes the digits in front of `text` onto `value`; false where that passes 63 bits.
bool take_digits(std::string_view& text, int64_t& value) {
  while (!text.empty() && is_digit(text[0])) {
    const int digit = text[0] - '0';
    if (value > (kMost - digit) / 10) return false;
    value = value * 10 + digit;
    text.remove_prefix(1);
  }
  return true;
}

NumberText refused(std::string_view why) {
  return {.why = why, .value = {}};
}

// An integer without sign at the front of `text`; a reason where there is none.
std::string_view take_integer(std::string_view& text, int64_t& value) {
  if (text.empty() || !is_digit(text[0])) return "not_a_number";
  if (text.size() > 1 && text[0] == '0' && is_digit(text[1])) return "leading_zero";
  return take_digits(text, value) ? "" : "number_too_large";
}

// The digits after a decimal point, onto num / den.
std::string_view take_decimals(std::string_view& text, int64_t& num, int64_t& den) {
  const size_t before = text.size();
  if (!take_digits(text, num)) return "number_too_large";
  for (size_t i = text.size(); i < before; ++i) {
    if (den > kMost / 10) return "number_too_large";
    den *= 10;
  }
  return "";
}

Rational read_gold(const Json& gold) {
  const NumberText number = read_number(gold.is_integer() ? std::to_string(gold.integer()) : gold.string());
  if (!number.ok()) gold.fail(fmt::format("is no integer, fraction or decimal ({})", number.why));
  return number.value;
}

}  // namespace

NumberText read_number(std::string_view text) {
  text = trim(text);
  if (text.empty()) return refused("empty");
  bool negative = false;
  for (const std::string_view minus : {"-", "−"}) {
    if (!negative && text.starts_with(minus)) {
      text.remove_prefix(minus.size());
      negative = true;
    }
  }
  int64_t num = 0, den = 1;
  if (const auto why = take_integer(text, num); !why.empty()) return refused(why);
  if (text.size() > 1 && text[0] == '.' && is_digit(text[1])) {
    text.remove_prefix(1);
    if (const auto why = take_decimals(text, num, den); !why.empty()) return refused(why);
  } else if (const std::string_view rest = trim(text); rest.starts_with('/')) {
    text = trim(rest.substr(1));
    den = 0;
    if (const auto why = take_integer(text, den); !why.empty()) return refused(why);
    if (den == 0) return refused("division_by_zero");
  }
  if (!text.empty()) return refused("trailing_text");
  const auto value = apply_operator('/', {negative ? -num : num, 1}, {den, 1});
  return value ? NumberText{.why = "", .value = *value} : refused("number_too_large");
}

std::string judge_number(std::string_view answer, const Rational& gold) {
  const NumberText number = read_number(answer);
  if (!number.ok()) return fmt::format("bad_number:{}", number.why);
  return number.value == gold ? "ok" : "wrong_value";
}

Verdict verify_number(const Json& gold, std::string_view response) {
  const Rational value = read_gold(gold);
  return judge_response(response, [&](std::string_view answer) { return judge_number(answer, value); });
}

Verdict verify_equation(const Json& gold, std::string_view response) {
  const Rational value = read_gold(gold.at("value"));
  const Json& unknown = gold.at("unknown");
  const std::string& name = unknown.string();
  if (name.empty() || !is_word(name)) unknown.fail("is no letter or word");
  return judge_response(response, [&](std::string_view answer) {
    std::string_view text = trim(answer);
    if (text.starts_with(name)) {
      const std::string_view rest = trim(text.substr(name.size()));
      if (rest.starts_with('=')) text = rest.substr(1);
    }
    return judge_number(text, value);
  });
}

}  // namespace r1
