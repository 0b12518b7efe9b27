// Equal values have one form, different values have different forms, and no operation exceeds its budget.
#include "reward/math/algebra.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "reward/math/evaluate.h"

namespace r1::math::algebra_test {
namespace {

// Returns "equal", "different", or the reason why there is no value.
std::string relation(const std::string& a, const std::string& b) {
  const auto x = parse_notation(a), y = parse_notation(b);
  if (!x || !y) return "unreadable";
  Algebra algebra;
  try {
    return algebra.equal(evaluate(algebra, *x), evaluate(algebra, *y)) ? "equal" : "different";
  } catch (const NotEvaluated& refusal) {
    return std::string(refusal.why);
  }
}

TEST(Algebra, KnowsEqualValues) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"\\sqrt{8}", "2\\sqrt2"},
      {"\\sqrt{12}+\\sqrt{27}", "5\\sqrt3"},
      {"\\frac{1}{\\sqrt2}", "\\frac{\\sqrt2}{2}"},
      {"\\frac{\\sqrt3}{4\\sqrt2-3}", "\\frac{4\\sqrt6+3\\sqrt3}{23}"},
      {"\\frac{1}{\\sqrt2+\\sqrt3}", "\\sqrt3-\\sqrt2"},
      {"\\sqrt[3]{16}", "2\\sqrt[3]{2}"},
      {"\\sqrt[3]{-8}", "-2"},
      {"\\sqrt{-4}", "2i"},
      {"8^{2/3}", "4"},
      {"\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"},
      {"\\sqrt{9+4\\sqrt5}", "2+\\sqrt5"},
      {"\\sqrt{7-4\\sqrt3}", "2-\\sqrt3"},
      {"\\sqrt{2+\\sqrt2}^2", "2+\\sqrt2"},
      {"\\sqrt{8+4\\sqrt2}", "2\\sqrt{2+\\sqrt2}"},
      {"(1+i)^2", "2i"},
      {"\\frac{1}{1+i}", "\\frac{1-i}{2}"},
      {"(x+1)^2", "x^2+2x+1"},
      {"\\frac{x^2-1}{x-1}", "x+1"},
      {"\\frac{x}{7}+\\frac{2}{7}", "\\frac{x+2}{7}"},
      {"10p^3\\sqrt{3p}", "10\\sqrt{3p^7}"},
      {"\\frac{1}{3\\sqrt[3]{x}^2}", "\\frac{1}{3x^{2/3}}"},
      {"2^{n+1}", "2\\cdot 2^n"},
      {"6^n", "2^n\\cdot 3^n"},
      {"10^{\\frac{-5+\\sqrt{13}}{6}}", "10^{\\frac{\\sqrt{13}-5}{6}}"},
      {"e^{x+1}", "e e^x"},
      {"\\tan^2 y+1", "\\sec^2 y"},
      {"\\sin^2 x+\\cos^2 x", "1"},
      {"\\sin 30^\\circ", "1/2"},
      {"\\cos\\frac{\\pi}{12}", "\\frac{\\sqrt6+\\sqrt2}{4}"},
      {"\\tan\\frac{3\\pi}{4}", "-1"},
      {"\\sin(-x)", "-\\sin x"},
      {"\\cos(x-y)", "\\cos(y-x)"},
      {"\\log_2 8", "3"},
      {"\\log 1000", "3"},
      {"\\ln e^2", "2"},
      {"\\log_4 8", "3/2"},
      {"\\ln 6", "\\ln 2+\\ln 3"},
      {"5!", "120"},
      {"\\binom{10}{3}", "120"},
      {"0.\\overline{3}", "1/3"},
      {"0.1\\overline{6}", "1/6"},
      {"3\\frac12", "7/2"},
      {"3 1/2", "7/2"},
      {"|{-3}|", "3"},
      {"|1-\\sqrt2|", "\\sqrt2-1"},
      {"|x-y|", "|y-x|"},
      {"2\\pi r", "r \\pi\\cdot 2"},
      {"50\\%", "0.5"},
      {"\\frac{\\sqrt{\\sqrt{11}+\\sqrt{194}}}{15+2\\sqrt{33}}",
       "\\frac{\\sqrt{\\sqrt{11}+\\sqrt{194}}}{2\\sqrt{33}+15}"},
  };
  for (const auto& [a, b] : cases) EXPECT_EQ(relation(a, b), "equal") << a << "   " << b;
}

TEST(Algebra, KnowsDifferentValues) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"\\sqrt2+\\sqrt3", "\\sqrt5"},
      {"\\sqrt2+\\sqrt3", "\\sqrt{10}"},
      {"\\pi", "22/7"},
      {"\\pi", "3.14159265358979"},
      {"\\sqrt2", "1.41421356237"},
      {"x^2", "x^3"},
      {"x+y", "x-y"},
      {"2^n", "n^2"},
      {"\\sin x", "\\cos x"},
      {"e^{\\pi\\sqrt{163}}", "262537412640768744"},
      {"\\sqrt[3]{2}", "\\sqrt{2}"},
      {"i", "1"},
      {"\\log 2", "\\ln 2"},
      {"0.333333333", "1/3"},
      {"1/3+10^{-500}", "1/3"},
  };
  for (const auto& [a, b] : cases) EXPECT_EQ(relation(a, b), "different") << a << "   " << b;
}

TEST(Algebra, RefusesWhatIsTooLargeOrHasNoValue) {
  for (const char* large :
       {"9^9^9^9", "2^{99999999}", "99999999!", "((5!)!)!", "(1+\\sqrt2)^{40000}", "(x+y+z+w)^{30}",
        "(\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}+\\sqrt{13})^{400}"}) {
    EXPECT_EQ(relation(large, "1"), "too_complex") << large;
  }
  for (const char* zero :
       {"1/0", "\\frac{1}{2-2}", "0^{-1}", "\\frac{1}{\\sqrt8-2\\sqrt2}", "\\tan\\frac{\\pi}{2}"})
    EXPECT_EQ(relation(zero, "1"), "division_by_zero") << zero;
  for (const char* none :
       {"(1,2)", "\\{1\\}+\\{2\\}", "\\infty", "\\ln(-1)", "\\sqrt[4]{-1}", "0^0", "(-2)!", "2.5!"})
    EXPECT_EQ(relation(none, "1"), "not_a_value") << none;
}

// In random sums of radicals, a - b vanishes only if their doubles agree, and adding a rational makes them
// differ.
TEST(Algebra, AgreesWithDoublesOnRandomRadicals) {
  Random random(5);
  int equal = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto draw = [&] {
      std::string out = std::to_string(random.between(-9, 9));
      for (int64_t k = random.between(1, 3); k > 0; --k)
        out += "+" + std::to_string(random.between(1, 5)) + "\\sqrt{" +
               std::to_string(random.between(2, 50)) + "}/" + std::to_string(random.between(1, 6));
      return out;
    };
    const std::string a = draw(), b = random.below(2) == 0 ? "(" + a + ")\\sqrt{9}/3" : draw();
    Algebra algebra;
    const Ratio x = evaluate(algebra, *parse_notation(a)), y = evaluate(algebra, *parse_notation(b));
    const bool close = std::abs(*approximate(x) - *approximate(y)) < 1e-9;
    ASSERT_EQ(algebra.equal(x, y), close) << a << "   " << b;
    ASSERT_FALSE(
        algebra.equal(algebra.add(x, Ratio{Fraction(Integer(1), power(Integer(10), 40u)), Fraction(1)}), x))
        << a;
    equal += close;
  }
  EXPECT_GT(equal, 900);
}

TEST(Integer, ArithmeticOfAnySize) {
  const Integer a = Integer::from_digits("123456789012345678901234567890"), b(-97);
  EXPECT_EQ((a * b + Integer(1)).text(), "-11975308534197530853419753085329");
  EXPECT_EQ((quotient(a, b) * b + remainder(a, b)).text(), a.text());
  EXPECT_EQ(power(Integer(2), 200u).bits(), 201u);
  EXPECT_EQ(floor_root(power(Integer(7), 90u), 45).text(), "49");
  EXPECT_EQ(floor_root(power(Integer(7), 90u) - Integer(1), 45).text(), "48");
  EXPECT_EQ(Integer::from_digits("9223372036854775807").small(), 9223372036854775807);
  EXPECT_FALSE(Integer::from_digits("9223372036854775808").small());
  EXPECT_EQ(Fraction(Integer(6), Integer(-4)).text(), "-3/2");
  EXPECT_LT(Fraction(Integer(1), Integer(3)), Fraction(Integer(1), Integer(2)));
}

}  // namespace
}  // namespace r1::math::algebra_test
