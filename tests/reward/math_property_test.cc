// Golds of GSM8K and MATH (R1_TEST_DATA) are rewritten: a rewriting that keeps the value is accepted, others
// are not.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ascii.h"
#include "base/random.h"
#include "formats/json.h"
#include "formats/jsonl.h"
#include "reward/math/math_verifier.h"
#include "reward/number.h"

namespace r1::math_property_test {
namespace {

constexpr uint64_t kSeed = 20261129;
constexpr int kPairs = 50'000;

std::filesystem::path evals() {
  const char* given = std::getenv("R1_TEST_DATA");
  return std::filesystem::path(given != nullptr ? given : R1_SOURCE_DIR "/../shared/data") / "evals";
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::vector<std::string> golds() {
  std::vector<std::string> out;
  for (const Json& row : read_jsonl(evals() / "gsm8k_train.jsonl")) {
    const std::string& answer = row.get_string("answer");
    out.emplace_back(trim(std::string_view(answer).substr(answer.rfind("####") + 4)));
  }
  const Json math = read_json(evals() / "math_train_answers.json");
  for (const Json& row : math.items()) {
    const Json* answer = row.find("answer");
    if (answer != nullptr && answer->is_string() && !trim(answer->string()).empty())
      out.push_back(answer->string());
  }
  for (const Json& row : read_jsonl(evals() / "math500.jsonl")) out.push_back(row.get_string("answer"));
  return out;
}

class Rewriter {
 public:
  explicit Rewriter(Random& random) : random_(random) {}

  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(random_.below(static_cast<int64_t>(from.size())))];
  }

  // Returns the value in one of many spellings.
  std::string spelled(const Fraction& value) {
    const std::string sign = value.sign() < 0 ? "-" : "";
    const std::string num = value.num().magnitude().text(), den = value.den().text();
    std::vector<std::string> forms;
    if (value.is_integer()) {
      const std::string grouped = grouped_by(num, ",");
      const std::string triple = (value.num().magnitude() * Integer(3)).text();
      forms = {sign + num,
               sign + num + ".0",
               sign + "0" + num,
               sign + grouped,
               sign + num + "/1",
               sign + grouped_by(num, "{,}"),
               sign + grouped_by(num, ",\\!"),
               sign + "\\frac{" + triple + "}{3}",
               sign + num + ".00"};
      if (sign.empty()) {
        for (const std::string& form :
             {"+" + num, "\\$" + num, "$" + grouped, num + " dollars", num + "\\text{ apples}"})
          forms.push_back(form);
      }
    } else {
      const auto times = [](const Integer& n, int k) { return (n.magnitude() * Integer(k)).text(); };
      forms = {sign + num + "/" + den,
               sign + "\\frac{" + num + "}{" + den + "}",
               sign + "\\dfrac{" + times(value.num(), 2) + "}{" + times(value.den(), 2) + "}",
               "\\frac{" + sign + num + "}{" + den + "}",
               sign + times(value.num(), 5) + "/" + times(value.den(), 5),
               sign + "\\tfrac{" + num + "}{" + den + "}"};
      if (const auto decimal = decimal_of(value)) {
        forms.push_back(sign + *decimal);
        forms.push_back(sign + *decimal + "0");
        if (decimal->starts_with("0.")) forms.push_back(sign + decimal->substr(1));
      }
      const Integer whole = quotient(value.num().magnitude(), value.den());
      if (whole.sign() > 0)
        forms.push_back(sign + whole.text() + "\\frac{" +
                        remainder(value.num().magnitude(), value.den()).text() + "}{" + den + "}");
    }
    return pick(forms);
  }

  std::string framed(const std::string& answer) {
    const bool dollar = answer.find('$') != std::string::npos;
    switch (random_.below(9)) {
      case 0:
        return "\\boxed{" + answer + "}";
      case 1:
        return "So the answer is \\boxed{" + answer + "}.";
      case 2:
        return "<think>I guess 7 or 12.</think>\nTherefore, the answer is " +
               (dollar ? answer : "$" + answer + "$") + ".";
      case 3:
        return "<think>hm 3</think><answer>" + answer + "</answer>";
      case 4:
        return "First 3+4=7.\n#### " + answer;
      case 5:
        return dollar ? answer : "We find $x = 9$. The final answer is \\(" + answer + "\\).";
      case 6:
        return dollar ? answer : "\\[ " + answer + " \\]";
      case 7:
        return "**Answer:** " + answer;
      default:
        return answer;
    }
  }

  Fraction changed(const Fraction& value) {
    const Fraction ten(10), one(1);
    std::vector<Fraction> others{value + one,
                                 value - one,
                                 -value,
                                 value * ten,
                                 value / ten,
                                 value + one / ten,
                                 value * Fraction(2),
                                 value * Fraction(100),
                                 value + Fraction(1000),
                                 value + Fraction(Integer(1), value.den())};
    if (!value.is_zero()) others.push_back(one / value);
    const std::string digits = value.num().magnitude().text();
    if (digits.size() > 1) {
      std::string swapped = digits;
      const auto at = static_cast<size_t>(random_.below(static_cast<int64_t>(digits.size()) - 1));
      std::swap(swapped[at], swapped[at + 1]);
      others.emplace_back(Integer::from_digits(swapped), value.den());
      others.emplace_back(Integer::from_digits(std::string_view(digits).substr(1)), value.den());
    }
    std::erase(others, value);
    return pick(others);
  }

  // Returns notation that is not a number in another spelling.
  std::string respelled(const std::string& gold) {
    return pick<std::string>(
        {gold, replaced(gold, "\\frac", "\\dfrac"),
         replaced(replaced(gold, "\\dfrac", "\\frac"), "\\tfrac", "\\frac"),
         gold.find("\\left") == std::string::npos && gold.find("\\text") == std::string::npos
             ? replaced(replaced(gold, "(", "\\left("), ")", "\\right)")
             : gold,
         replaced(gold, "+", " + ")});
  }

  // Returns notation with another meaning, or nothing if this gold offers none.
  std::optional<std::string> distorted(const std::string& gold) {
    std::vector<std::string> others;
    std::vector<size_t> digits;
    for (size_t i = 0; i < gold.size(); ++i) {
      if (is_digit(gold[i])) digits.push_back(i);
    }
    if (!digits.empty()) {
      std::string other = gold;
      char& digit = other[pick(digits)];
      digit = static_cast<char>('0' + (digit - '0' + 1 + random_.below(8)) % 10);
      others.push_back(other);
    }
    if (const size_t plus = gold.find('+'); plus != std::string::npos)
      others.push_back(gold.substr(0, plus) + "-" + gold.substr(plus + 1));
    if (gold.find("\\pi") != std::string::npos && gold != "\\pi")
      others.push_back(gold.substr(0, gold.find("\\pi")) + gold.substr(gold.find("\\pi") + 3));
    if (gold.starts_with('(') && gold.find(',') != std::string::npos) others.push_back("[" + gold.substr(1));
    if (gold.starts_with('[')) others.push_back("(" + gold.substr(1));
    if (others.empty()) return std::nullopt;
    return pick(others);
  }

 private:
  static std::string grouped_by(const std::string& digits, std::string_view separator) {
    std::string out;
    for (size_t i = 0; i < digits.size(); ++i) {
      if (i > 0 && (digits.size() - i) % 3 == 0) out += separator;
      out += digits[i];
    }
    return out;
  }

  static std::optional<std::string> decimal_of(const Fraction& value) {
    Fraction scaled(value.num().magnitude(), value.den());
    for (size_t places = 0; places < 12; ++places, scaled = scaled * Fraction(10)) {
      if (!scaled.is_integer()) continue;
      std::string text = scaled.num().text();
      if (text.size() <= places) text.insert(0, places + 1 - text.size(), '0');
      if (places > 0) text.insert(text.size() - places, ".");
      return text;
    }
    return std::nullopt;
  }

  Random& random_;
};

TEST(MathProperty, RewritesThatKeepTheValueAreAcceptedAndOthersAreNot) {
  if (!std::filesystem::exists(evals() / "gsm8k_train.jsonl"))
    GTEST_SKIP() << "NOT TESTED: no " << evals() << " (set R1_TEST_DATA)";
  const std::vector<std::string> all = golds();
  ASSERT_GT(all.size(), 15'000u);
  Random random(kSeed);
  Rewriter rewriter(random);
  int keeping = 0, false_rejects = 0, false_accepts = 0;
  std::string shown;
  for (int pair = 0; pair < kPairs;) {
    const std::string& gold = rewriter.pick(all);
    const MathVerifier verifier(gold);
    const NumberText number = read_number(gold);
    const bool percent = gold.find('%') != std::string::npos;  // other rules hold: % may be left out
    const bool is_number = number.ok() && !percent;
    const auto judge = [&](const std::string& answer, bool keeps) {
      const std::string why = verifier.judge(answer);
      ++pair;
      keeping += keeps;
      if ((why == "ok") == keeps) return;
      (keeps ? false_rejects : false_accepts) += 1;
      if (shown.size() < 4000)
        shown += (keeps ? "rejects: " : "accepts: ") + gold + "   " + answer + "   " + why + "\n";
    };
    if (is_number) {
      judge(rewriter.framed(rewriter.spelled(number.value)), true);
      judge(rewriter.framed(rewriter.spelled(rewriter.changed(number.value))), false);
    } else {
      const std::string same = rewriter.respelled(gold);
      judge(random.below(2) == 0 ? "Thus the answer is $\\boxed{" + same + "}$." : same, true);
      if (const auto other = rewriter.distorted(gold))
        judge(random.below(2) == 0 ? "\\boxed{" + *other + "}" : *other, false);
    }
  }
  EXPECT_EQ(false_accepts, 0) << shown;
  EXPECT_LE(false_rejects, keeping / 1000) << shown;
}

}  // namespace
}  // namespace r1::math_property_test
