// Reads the equations from the questions' text. The gold must satisfy each, and the gold plus one must not.
#include "data/rational.h"
#include "tests/data/task_test_util.h"

namespace r1::equations_test {
namespace {

// Returns the words around the first "=" that consist of an equation's characters.
std::string equation_of(const std::string& question, char unknown) {
  const std::string allowed = std::string("0123456789+-*/()=") + unknown;
  std::vector<std::string> words = test::words_of(question);
  size_t middle = 0;
  while (words.at(middle).find('=') == std::string::npos) ++middle;
  const auto is_part = [&](const std::string& word) {
    return word.find_first_not_of(allowed) == std::string::npos;
  };
  std::string out;
  for (size_t i = middle; i > 0 && is_part(words[i - 1]); --i) out = words[i - 1] + out;
  for (size_t i = middle; i < words.size(); ++i) {
    const size_t end = words[i].find_first_not_of(allowed);
    out += words[i].substr(0, end);
    if (end != std::string::npos) break;
  }
  return out;
}

Rational calc(char op, const Rational& a, const Rational& b) {
  return apply_operator(op, a, b).value();
}

// Evaluates one side with the unknown set to x. Products may omit their sign: 3x, 2(x+1).
struct Evaluator {
  std::string text;
  char unknown;
  Rational x;
  size_t at = 0;

  char peek() const { return at < text.size() ? text[at] : '\0'; }

  Rational sum() {
    Rational total{0, 1};
    char sign = '+';
    if (peek() == '-') sign = text[at++];
    for (;;) {
      total = calc(sign, total, product());
      if (peek() != '+' && peek() != '-') return total;
      sign = text[at++];
    }
  }
  Rational product() {
    Rational left = factor();
    for (;;) {
      if (peek() == '*' || peek() == '/') {
        const char op = text[at++];
        left = calc(op, left, factor());
      } else if (peek() == '(' || peek() == unknown) {
        left = calc('*', left, factor());
      } else {
        return left;
      }
    }
  }
  Rational factor() {
    if (peek() == unknown) {
      ++at;
      return x;
    }
    if (peek() == '(') {
      ++at;
      const Rational value = sum();
      EXPECT_EQ(peek(), ')') << text;
      ++at;
      return value;
    }
    size_t size = 0;
    const int64_t value = std::stoll(text.substr(at), &size);
    at += size;
    return {value, 1};
  }
};

bool satisfied(const std::string& equation, char unknown, const Rational& x) {
  const size_t middle = equation.find('=');
  Evaluator left{equation.substr(0, middle), unknown, x}, right{equation.substr(middle + 1), unknown, x};
  const Rational a = left.sum(), b = right.sum();
  EXPECT_EQ(left.at, left.text.size()) << left.text;
  EXPECT_EQ(right.at, right.text.size()) << right.text;
  return a == b;
}

Rational read(const std::string& text) {
  const size_t bar = text.find('/');
  return calc('/', {std::stoll(text), 1},
              {bar == std::string::npos ? 1 : std::stoll(text.substr(bar + 1)), 1});
}

TEST(Equations, GoldIsTheOneSolution) {
  std::map<std::string, int> fractions;
  test::for_problems("equations", 400, [&](const Problem& problem, const Json& gold) {
    const std::string unknown = gold.get_string("unknown"), value = gold.get_string("value");
    ASSERT_EQ(unknown.size(), 1u);
    const std::string equation = equation_of(problem.question, unknown[0]);
    const Rational solution = read(value);
    ASSERT_EQ(to_text(solution), value) << "in lowest terms";
    ASSERT_TRUE(satisfied(equation, unknown[0], solution)) << equation;
    // The equation is linear, so if a second value solved it, every number would.
    ASSERT_FALSE(satisfied(equation, unknown[0], calc('+', solution, {1, 1}))) << equation;
    ASSERT_LE(solution.den, 12);
    ASSERT_LE(std::abs(solution.num), 99);
    fractions[problem.task] += solution.den != 1;
  });
  EXPECT_EQ(fractions["equations:1"], 0);
  EXPECT_NEAR(fractions["equations:2"], 200, 60);
  EXPECT_NEAR(fractions["equations:3"], 400, 80);
}

TEST(Equations, ContentIsTheEquationWhicheverSideComesFirst) {
  test::for_problems("equations", 50, [&](const Problem& problem, const Json&) {
    const size_t middle = problem.key.find(" = ");
    ASSERT_NE(middle, std::string::npos);
    const std::string left = problem.key.substr(10, middle - 10), right = problem.key.substr(middle + 3);
    ASSERT_LE(left, right);
  });
}

}  // namespace
}  // namespace r1::equations_test
