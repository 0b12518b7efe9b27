#include "reward/digits.h"

#include <fmt/format.h>

#include <string>

#include "base/ascii.h"
#include "formats/json.h"

namespace r1 {
namespace {

struct Digits {
  std::string_view why;
  std::string_view text;  // zeros in front dropped; empty for 0
};

Digits read_digits(std::string_view text, int64_t base) {
  text = trim(text);
  const char letter = base == 2 ? 'b' : base == 8 ? 'o' : base == 16 ? 'x' : '\0';
  if (letter != '\0' && text.size() > 1 && text[0] == '0' && to_lower(text[1]) == letter)
    text.remove_prefix(2);
  if (text.empty()) return {"empty", {}};
  for (const char c : text) {
    const char low = to_lower(c);
    const int digit = is_digit(low) ? low - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
    if (digit < 0) return {"unknown_character", {}};
    if (digit >= base) return {"digit_beyond_base", {}};
  }
  text.remove_prefix(std::min(text.find_first_not_of('0'), text.size()));
  return {"", text};
}

}  // namespace

AnswerJudge digits_judge(const Json& gold) {
  const Json& base_field = gold.at("base");
  const int64_t base = base_field.integer();
  if (base < 2 || base > 16) base_field.fail(fmt::format("is {}; it must be between 2 and 16", base));
  const Json& digits_field = gold.at("digits");
  const Digits want = read_digits(digits_field.string(), base);
  if (!want.why.empty()) digits_field.fail(fmt::format("is no number in base {} ({})", base, want.why));
  return [base, wanted = std::string(want.text)](std::string_view answer) {
    const Digits got = read_digits(answer, base);
    if (!got.why.empty()) return fmt::format("bad_digits:{}", got.why);
    return std::string(equal_ignoring_case(got.text, wanted) ? "ok" : "wrong_value");
  };
}

}  // namespace r1
