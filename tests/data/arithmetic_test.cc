// Reads the expressions from the questions' text and evaluates them.
#include <set>

#include "data/countdown.h"
#include "tests/data/task_test_util.h"

namespace r1::arithmetic_test {
namespace {

// Returns the longest run of an expression's characters, without blanks and with × and ÷ as * and /.
std::string expression_of(std::string question) {
  for (const auto& [sign, plain] : {std::pair("×", "*"), std::pair("÷", "/")}) {
    for (size_t at; (at = question.find(sign)) != std::string::npos;) question.replace(at, 2, plain);
  }
  std::string best, run;
  for (const char c : question + "$") {
    if (std::string_view("0123456789+-*/() ").find(c) == std::string_view::npos) {
      if (run.size() > best.size()) best = run;
      run.clear();
    } else if (c != ' ') {
      run += c;
    }
  }
  return best;
}

// Recursive descent over whole numbers; an inexact division is a failure.
struct Evaluator {
  std::string text;
  size_t at = 0;
  std::set<char> used;
  int numbers = 0;

  int64_t sum() {
    int64_t left = product();
    while (at < text.size() && (text[at] == '+' || text[at] == '-')) {
      used.insert(text[at]);
      left = text[at++] == '+' ? left + product() : left - product();
    }
    return left;
  }
  int64_t product() {
    int64_t left = factor();
    while (at < text.size() && (text[at] == '*' || text[at] == '/')) {
      const char op = text[at++];
      used.insert(op);
      const int64_t right = factor();
      if (op == '*') {
        left *= right;
        continue;
      }
      EXPECT_NE(right, 0);
      EXPECT_EQ(left % right, 0) << text;
      left /= right;
    }
    return left;
  }
  int64_t factor() {
    if (text.at(at) == '(') {
      used.insert(text[at++]);
      const int64_t value = sum();
      EXPECT_EQ(text.at(at++), ')');
      return value;
    }
    size_t size = 0;
    const int64_t value = std::stoll(text.substr(at), &size);
    EXPECT_TRUE(std::isdigit(static_cast<unsigned char>(text[at]))) << text;
    at += size;
    ++numbers;
    return value;
  }
};

TEST(Arithmetic, GoldIsTheValueOfTheTextAndEveryDivisionIsExact) {
  std::set<char> used;
  std::map<std::string, int> by_level;
  int negative = 0;
  test::for_problems("arithmetic", 400, [&](const Problem& problem, const Json& gold) {
    Evaluator evaluator{.text = expression_of(problem.question), .used = {}};
    const int64_t value = evaluator.sum();
    ASSERT_EQ(evaluator.at, evaluator.text.size()) << evaluator.text;
    ASSERT_EQ(gold.string(), std::to_string(value));
    used.insert(evaluator.used.begin(), evaluator.used.end());
    by_level[problem.task] += evaluator.numbers;
    negative += value < 0;
    if (problem.task == "arithmetic:1") {
      ASSERT_TRUE(value > 0 && value < 100 && evaluator.numbers <= 3);
    }
  });
  EXPECT_EQ(used, (std::set<char>{'(', '*', '+', '-', '/'}));
  EXPECT_LT(by_level["arithmetic:1"], by_level["arithmetic:2"]);
  EXPECT_LT(by_level["arithmetic:2"], by_level["arithmetic:3"]);
  EXPECT_GT(negative, 100);
}

TEST(Arithmetic, TrainingShowsNoHeldOutNumbersOfCountdown) {
  for (uint64_t i = 0; i < 3000; ++i) {
    const Problem problem = make_problem("arithmetic", 5, i, Split::train);
    std::vector<int> numbers;
    for (const int64_t number : test::integers_of(expression_of(problem.question))) {
      numbers.push_back(static_cast<int>(number));
    }
    ASSERT_FALSE(is_held_out(numbers)) << problem.question;
  }
}

}  // namespace
}  // namespace r1::arithmetic_test
