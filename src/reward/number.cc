#include "reward/number.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "base/ascii.h"
#include "formats/json.h"
#include "reward/answer_text.h"

namespace r1 {
namespace {

constexpr auto kSeparators =
    std::to_array<std::string_view>({",\\!", "{,}", "\\,", ",", "\u202F", "\u00A0", "\u2009"});
constexpr auto kFractions = std::to_array<std::string_view>({"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"});
constexpr auto kCurrencies = std::to_array<std::string_view>({"\\$", "$", "€", "£", "¥", "₹"});
constexpr auto kPercents = std::to_array<std::string_view>({"\\%", "%"});

// Reads from the front of a text. Every function takes what it can and leaves the rest.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  NumberText number() {
    bool negative = take_sign();
    const bool signed_first = sign_taken_;
    bool currency = take_one(kCurrencies);
    if (currency && !signed_first) negative = take_sign();
    skip_blanks();
    Fraction value;
    if (const auto why = amount(value); !why.empty()) return {why, {}};
    const bool ended_in_point = point_last_;
    skip_blanks();
    if (!currency && take_one(kPercents)) {
      value = value / Fraction(100);
    } else if (!currency) {
      currency = take_one(kCurrencies);
    }
    if (rest_ == "." && !ended_in_point) rest_ = {};
    if (!trim(rest_).empty()) return {"trailing_text", {}};
    return {"", negative ? -value : value};
  }

 private:
  std::string_view amount(Fraction& value) {
    if (starts_fraction()) return take_fraction(value);
    const bool whole = !rest_.empty() && is_digit(rest_[0]);
    if (const auto why = take_decimal(value); !why.empty()) return why;
    const std::string_view behind = rest_;
    skip_blanks();
    if (whole && value.is_integer() && !point_last_ && starts_fraction()) {
      Fraction part;
      if (const auto why = take_fraction(part); !why.empty()) return why;
      if (part.sign() <= 0 || part >= Fraction(1)) return "bad_fraction";
      value = value + part;
    } else if (whole && value.is_integer() && !point_last_ && rest_.starts_with('/')) {
      rest_.remove_prefix(1);
      skip_blanks();
      Integer den;
      if (!take_integer(den)) return "not_a_number";
      if (den.sign() == 0) return "division_by_zero";
      value = value / Fraction(den);
    } else {
      rest_ = behind;
    }
    return "";
  }

  bool starts_fraction() const {
    for (const std::string_view macro : kFractions) {
      if (rest_.starts_with(macro)) return true;
    }
    return false;
  }

  std::string_view take_fraction(Fraction& value) {
    take_one(kFractions);
    Fraction num, den;
    if (!take_argument(num) || !take_argument(den)) return "bad_fraction";
    if (den.is_zero()) return "division_by_zero";
    value = num / den;
    point_last_ = false;
    return "";
  }

  // {number} or one digit.
  bool take_argument(Fraction& value) {
    skip_blanks();
    if (rest_.empty()) return false;
    if (is_digit(rest_[0])) {
      value = rest_[0] - '0';
      rest_.remove_prefix(1);
      return true;
    }
    const size_t end = rest_[0] == '{' ? closing_brace(rest_, 0) : std::string_view::npos;
    if (end == std::string_view::npos) return false;
    Reader inside(trim(rest_.substr(1, end - 2)));
    rest_.remove_prefix(end);
    const bool negative = inside.take_sign();
    if (inside.starts_fraction() || !inside.take_decimal(value).empty()) return false;
    if (negative) value = -value;
    return trim(inside.rest_).empty();
  }

  std::string_view take_decimal(Fraction& value) {
    Integer digits;
    const bool whole = take_integer(digits);
    point_last_ = false;
    int scale = 0;
    const bool point = rest_.starts_with('.');
    if (point && rest_.size() > 1 && is_digit(rest_[1])) {
      rest_.remove_prefix(1);
      const std::string_view decimals = take_digits();
      scale = static_cast<int>(decimals.size());
      digits = digits * power(10, static_cast<unsigned>(scale)) + Integer::from_digits(decimals);
    } else if (!whole) {
      return "not_a_number";
    } else if (point) {
      rest_.remove_prefix(1);
      point_last_ = true;
    }
    int exponent = 0;
    if (!take_exponent(exponent)) return "number_too_large";
    value = Fraction(std::move(digits));
    if (exponent != scale) value = value * power(Fraction(10), exponent - scale);
    return "";
  }

  // False if an exponent is there and too large.
  bool take_exponent(int& exponent) {
    std::string_view text = rest_;
    if (text.empty() || (text[0] != 'e' && text[0] != 'E')) return true;
    text.remove_prefix(1);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty() || !is_digit(text[0])) return true;
    rest_ = text;
    for (const char c : take_digits()) {
      if (exponent <= kMaxNumberExponent) exponent = exponent * 10 + (c - '0');
    }
    if (exponent > kMaxNumberExponent) return false;
    if (negative) exponent = -exponent;
    point_last_ = false;
    return true;
  }

  bool take_integer(Integer& value) {
    std::string digits(take_digits());
    if (digits.empty()) return false;
    if (digits.size() <= 3 && digits[0] != '0') take_groups(digits);
    value = Integer::from_digits(digits);
    return true;
  }

  // ,425,000 onto 7: groups of three digits, all behind the same separator. All of them or none.
  void take_groups(std::string& digits) {
    for (const std::string_view separator : kSeparators) {
      if (!rest_.starts_with(separator)) continue;
      std::string_view rest = rest_;
      std::string groups;
      while (rest.starts_with(separator)) {
        std::string_view group = rest.substr(separator.size());
        while (separator == ",\\!" && group.starts_with(' ')) group.remove_prefix(1);
        size_t size = 0;
        while (size < group.size() && is_digit(group[size])) ++size;
        if (size != 3) return;
        groups += group.substr(0, 3);
        rest = group.substr(3);
      }
      digits += groups;
      rest_ = rest;
      return;
    }
  }

  std::string_view take_digits() {
    size_t size = 0;
    while (size < rest_.size() && is_digit(rest_[size])) ++size;
    const std::string_view digits = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return digits;
  }

  // Returns whether it is a minus.
  bool take_sign() {
    for (const std::string_view sign : {"-", "−", "+"}) {
      if (!rest_.starts_with(sign)) continue;
      rest_.remove_prefix(sign.size());
      sign_taken_ = true;
      skip_blanks();
      return sign != "+";
    }
    return false;
  }

  bool take_one(std::span<const std::string_view> words) {
    for (const std::string_view word : words) {
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return true;
    }
    return false;
  }

  void skip_blanks() {
    while (!rest_.empty() && is_blank(rest_[0])) rest_.remove_prefix(1);
  }

  std::string_view rest_;
  bool sign_taken_ = false;
  bool point_last_ = false;  // the amount ends in a point without digits behind
};

Fraction read_gold(const Json& gold) {
  const NumberText number = read_number(gold_text(gold));
  if (!number.ok()) gold.fail(fmt::format("is no number ({})", number.why));
  return number.value;
}

}  // namespace

std::string gold_text(const Json& gold) {
  return gold.is_number() ? gold.literal() : gold.string();
}

NumberText read_number(std::string_view text) {
  text = unwrapped(text);
  if (text.empty()) return {"empty", {}};
  if (text.size() > kMaxNumberBytes) return {"too_long", {}};
  return Reader(text).number();
}

std::string judge_number(std::string_view answer, const Fraction& gold) {
  const NumberText number = read_number(answer);
  if (!number.ok()) return fmt::format("bad_number:{}", number.why);
  return number.value == gold ? "ok" : "wrong_value";
}

AnswerJudge number_judge(const Json& gold) {
  return [value = read_gold(gold)](std::string_view answer) { return judge_number(answer, value); };
}

AnswerJudge equation_judge(const Json& gold) {
  const Json& unknown = gold.at("unknown");
  const std::string& name = unknown.string();
  if (name.empty() || !is_word(name)) unknown.fail("is no letter or word");
  return [value = read_gold(gold.at("value")), name](std::string_view answer) {
    std::string_view text = trim(answer);
    if (text.starts_with(name)) {
      const std::string_view rest = trim(text.substr(name.size()));
      if (rest.starts_with('=')) text = rest.substr(1);
    }
    return judge_number(text, value);
  };
}

}  // namespace r1
