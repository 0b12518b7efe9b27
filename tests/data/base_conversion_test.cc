// Checks numbers and their digits by Horner's rule.
#include <algorithm>

#include "tests/data/task_test_util.h"

namespace r1::base_conversion_test {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

int64_t value_of(const std::string& digits, int64_t base) {
  int64_t value = 0;
  for (const char c : digits) {
    const auto digit = static_cast<int64_t>(std::string_view("0123456789abcdef").find(c));
    EXPECT_LT(digit, base) << digits;
    value = value * base + digit;
  }
  return value;
}

bool is_number(const std::string& word) {
  return word.find_first_not_of("0123456789abcdef") == std::string::npos;
}

TEST(BaseConversion, GoldIsTheNumberOfTheQuestion) {
  std::set<int64_t> from_bases, to_bases;
  test::for_problems("base_conversion", 400, [&](const Problem& problem, const Json& gold) {
    const std::vector<int64_t> content = test::integers_of(problem.key);
    ASSERT_EQ(content.size(), 3u);
    const int64_t value = content[0], to = gold.get_int("base");
    const int64_t from = to == content[1] ? content[2] : content[1];
    ASSERT_TRUE(to == content[1] || to == content[2]);
    ASSERT_NE(from, to);
    ASSERT_EQ(value_of(gold.get_string("digits"), to), value);
    // Some word of the question must be that number in the other base.
    bool found = false;
    for (std::string word : test::words_of(lower(problem.question))) {
      while (!word.empty() && std::ispunct(static_cast<unsigned char>(word.back()))) word.pop_back();
      if (word.size() > 2 && word[0] == '0') word = word.substr(2);
      const bool digits_fit = std::ranges::all_of(word, [&](char c) {
        return static_cast<int64_t>(std::string_view("0123456789abcdef").find(c)) < from;
      });
      found = found || (!word.empty() && is_number(word) && digits_fit && value_of(word, from) == value);
    }
    ASSERT_TRUE(found);
    const auto names = [&](int64_t base) {
      const std::string word = base == 2 ? "binary" : base == 8 ? "octal" : base == 10 ? "decimal" : "hex";
      const bool named = base == 2 || base == 8 || base == 10 || base == 16;
      return problem.question.find("base " + std::to_string(base)) != std::string::npos ||
             (named && problem.question.find(word) != std::string::npos);
    };
    ASSERT_TRUE(names(from) && names(to));
    from_bases.insert(from);
    to_bases.insert(to);
  });
  EXPECT_EQ(from_bases.size(), 15u);
  EXPECT_EQ(to_bases.size(), 15u);
}

}  // namespace
}  // namespace r1::base_conversion_test
