#include "reward/math/math_verifier.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "formats/json.h"
#include "reward/verifier.h"

namespace r1::math_verifier_test {
namespace {

std::string why(const std::string& gold, const std::string& text, const MathOptions& options = {}) {
  return MathVerifier(gold, options).judge(text);
}

struct Pair {
  std::string gold, answer;
};

TEST(MathVerifier, AcceptsTheSameAnswerHoweverItIsWritten) {
  const std::vector<Pair> pairs{
      {"16", "016"},
      {"7425000", "7,425,000"},
      {"12,\\!650", "12650"},
      {"2{,}016{,}532", "2016532"},
      {"\\$42409", "42,409"},
      {"\\$5.50", "5.5"},
      {"18", "$18"},
      {"18", "18 dollars"},
      {"20\\text{ days}", "20"},
      {"20", "20 days"},
      {"15\\mbox{ cm}^2", "15 square centimeters"},
      {"1\\text{ m}", "100 cm"},
      {"1\\frac{1}{10}", "11/10"},
      {"\\frac{1}{2}", "0.5"},
      {".5", "\\frac12"},
      {"90^\\circ", "90"},
      {"90", "90^{\\circ}"},
      {"40\\%", "40"},
      {"40\\%", "0.4"},
      {"40", "40\\%"},
      {"0.4", "40%"},
      {"3\\sqrt{13}", "\\sqrt{117}"},
      {"4a-2", "-2+4a"},
      {"(2,1)", "\\left( 2, 1 \\right)"},
      {"(1,3)", "{1,3}"},
      {"-2,1", "1, -2"},
      {"-2,1", "x=1 \\text{ or } x=-2"},
      {"1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"},
      {"\\{1\\pm\\sqrt{5},-2\\}", "\\{-2, 1+\\sqrt5, 1-\\sqrt5\\}"},
      {"[0,1)", "[0, 1)"},
      {"(-\\infty,-8]\\cup [8,\\infty)", "[8,\\infty) \\cup (-\\infty,-8]"},
      {"(-\\infty,-8]\\cup [8,\\infty)", "x \\le -8 or x \\ge 8"},
      {"[5,\\infty)", "x \\geq 5"},
      {"(0,1)", "0<f(x)<1"},
      {"x \\in [-2,7]", "[-2,7]"},
      {"x < 1", "-x > -1"},
      {"x \\geq 5", "5 \\leq x"},
      {"f(2) < f(1) < f(4)", "f(4) > f(1) > f(2)"},
      {"y = 2x - 13", "2x - y = 13"},
      {"y = 2x - 13", "2x-13"},
      {"k=6", "6"},
      {"6", "x=6"},
      {"AB=9, CD=4", "CD=4, AB=9"},
      {"AB=9, CD=4", "9, 4"},
      {"(p,q)=(3,2)", "(3,2)"},
      {"11:21", "22:42"},
      {"204_5", "204_{5}"},
      {"24_{10}", "24"},
      {"\\begin{pmatrix} 2 \\\\ -1 \\end{pmatrix}", "\\begin{bmatrix}2\\\\-1\\end{bmatrix}"},
      {"\\begin{pmatrix} 6 & 8 \\\\ 10 & 12 \\end{pmatrix}",
       "2\\begin{pmatrix} 3 & 4 \\\\ 5 & 6 \\end{pmatrix}"},
      {"\\text{even}", "even"},
      {"\\text{Evelyn}", "Evelyn."},
      {"\\text{two lines}", "Two lines"},
      {"\\text{(D)}", "D"},
      {"C", "(C) Cecile"},
      {"8 July 1985", "1985-07-08"},
      {"\\frac{\\pi r}{h+r}", "\\pi\\cdot\\frac{r}{r+h}"},
      {"x-2y+z-1=0", "2x-4y+2z=2"},
      {"\\emptyset", "\\varnothing"},
      {"123456789012345678901234567890", "123,456,789,012,345,678,901,234,567,890"},
      {"8\\!:\\!34 \\text{ p.m.}", "8:34"},
      {"\\approx 8.24 \\text{ mph}", "8.24"},
      {"0.56 = 56\\%", "56%"},
  };
  for (const auto& [gold, answer] : pairs) {
    EXPECT_EQ(why(gold, answer), "ok") << gold << "   " << answer;
    EXPECT_EQ(why(gold, "So it is $\\boxed{" + answer + "}$."), "ok") << gold << "   " << answer;
    EXPECT_EQ(why(gold, gold), "ok") << gold;
  }
}

TEST(MathVerifier, RefusesAnotherAnswerAndSaysWhy) {
  const std::vector<std::array<std::string, 3>> cases{{
      {"24", "25", "wrong_value"},
      {"24", "-24", "wrong_value"},
      {"24", "24, 25", "wrong_kind"},
      {"24", "16 or 24", "wrong_kind"},
      {"24", "(24, 24)", "wrong_kind"},
      {"24", "0.24", "wrong_value"},
      {"24", "24000/100", "wrong_value"},
      {"1/3", "0.33", "wrong_value"},
      {"1/3", "0.3333333333333333", "wrong_value"},
      {"\\pi", "3.14", "wrong_value"},
      {"0.4", "0.4%", "wrong_value"},
      {"40\\%", "400", "wrong_value"},
      {"1\\text{ m}", "100 m", "wrong_value"},
      {"15\\mbox{ cm}^2", "15 cm", "wrong_unit"},
      {"15\\mbox{ cm}^2", "15 cm^8", "wrong_unit"},
      {"20\\text{ minutes}", "20 hours", "wrong_unit"},
      {"[0,1)", "(0,1)", "wrong_value"},
      {"[0,1)", "[0,1]", "wrong_value"},
      {"(2,1)", "(1,2)", "wrong_value"},
      {"(2,1)", "\\{1,2\\}", "wrong_kind"},
      {"-2,1", "-2", "wrong_kind"},
      {"-2,1", "-2,1,3", "wrong_value"},
      {"1,1,-2", "1,-2,-2", "wrong_value"},
      {"x < 1", "x > 1", "wrong_value"},
      {"x \\le 1", "x < 1", "wrong_value"},
      {"x=5", "y=5", "wrong_value"},
      {"7 = 11a+c", "11a+c", "wrong_kind"},
      {"AB=9, CD=4", "AB=4, CD=9", "wrong_value"},
      {"204_5", "204_6", "wrong_value"},
      {"204_5", "204", "wrong_kind"},
      {"11:21", "21:11", "wrong_value"},
      {"5:00", "9:00", "wrong_value"},
      {"4:30 \\text{ p.m.}", "2:15", "wrong_value"},
      {"4:30 \\text{ p.m.}", "4:30 a.m.", "wrong_unit"},
      {"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1 & 2\\end{pmatrix}", "wrong_value"},
      {"\\text{even}", "odd", "wrong_value"},
      {"\\text{Tuesday}", "\\text{Sunday}", "wrong_value"},
      {"C", "D", "wrong_value"},
      {"C", "The answer is D, not C", "wrong_value"},
      {"8 July 1985", "7 August 1985", "wrong_value"},
      {"2x", "x^2", "wrong_value"},
      {"0.56 = 56\\%", "2.56 = 56\\%", "wrong_value"},
      {"5", "", "no_answer"},
      {"5", "I do not know.", "not_readable"},
      {"5", "9^9^9^9", "too_complex"},
      {"5", "1/0", "division_by_zero"},
  }};
  for (const auto& [gold, answer, reason] : cases)
    EXPECT_EQ(why(gold, answer), reason) << gold << "   " << answer;
}

TEST(MathVerifier, FindsTheFinalAnswerInFreeText) {
  const std::vector<std::string> right{
      "<think>Is it 7?</think><answer>42</answer>",
      "<think>\\boxed{7}</think>\nIt is \\boxed{42}.",
      "First \\boxed{7}, then \\boxed{42}",
      "3 + 4 = 7, so 7 * 6 = 42.\n#### 42",
      "The answer is 7? No. The answer is 42.",
      "The final answer is $42$. I hope it is correct.",
      "Earlier \\boxed{7}. Final Answer: The final answer is $42$.",
      "**Answer:** 42",
      "Answer: $x = 42$",
      "Final Answer: Jane has 42 apples left.",
      "So $6 \\cdot 7 = 42$",
      "We get\n\\[ 6 \\cdot 7 = 42 \\]",
      "Out of 100 children, 58 leave. There remain 42.",
      "42",
      "x = 42",
      "She pays $42.",
  };
  for (const std::string& text : right) EXPECT_EQ(why("42", text), "ok") << text;
  const std::vector<std::string> wrong{
      "<think>It is 42</think><answer>7</answer>",
      "<think>\\boxed{42}",
      "\\boxed{42} is too much, so \\boxed{7}",
      "It is 42.\n#### 7",
      "The answer is 42? No. The answer is 7.",
      "42 children come, and 7 go.",
      "AZYUK42A",
      "The answer is 42 or 43.",
      "\\boxed{42}, \\boxed{43}",
  };
  for (const std::string& text : wrong) EXPECT_NE(why("42", text), "ok") << text;
  EXPECT_EQ(why("1,2,3", "\\boxed{1}, \\boxed{2} and \\boxed{3}"), "ok");
  EXPECT_EQ(why("Mary has 3 apples and buys 4. 3 + 4 = 7.\n#### 7", "7"), "ok")
      << "a worked solution as the gold";
}

TEST(MathVerifier, OptionsNameThePolicy) {
  EXPECT_EQ(why("40", "40%", {.percent_is_a_unit = false}), "wrong_value");
  EXPECT_EQ(why("1/3", "0.3333", {.decimals = 4}), "ok");
  EXPECT_EQ(why("1/3", "0.3334", {.decimals = 4}), "wrong_value");
  EXPECT_EQ(why("42", "There remain 42.", {.numbers = false}), "not_readable");
  EXPECT_EQ(why("B", "It's not A, therefore I think it's B", {.choices = true}), "ok");
  const auto read = [](const char* text) { return read_math_options(parse_json(text, "options")); };
  EXPECT_TRUE(read(R"({"match_types":["NativeLetters"]})").choices);
  EXPECT_FALSE(read(R"({"match_types":["latex"]})").numbers);
  EXPECT_EQ(read(R"({"precision":6})").decimals, 6);
  for (const char* bad :
       {R"({"precison":6})", R"({"precision":99})", R"({"match_types":["words"]})", R"({"percent":"no"})"})
    EXPECT_THROW(read(bad), Error) << bad;
}

TEST(MathVerifier, GoldsThatCannotBeAreErrors) {
  EXPECT_THROW(MathVerifier(""), Error);
  EXPECT_THROW(MathVerifier("  \n"), Error);
  EXPECT_THROW(MathVerifier(std::string(100'000, '1')), Error);
  EXPECT_EQ(why("\\weird{thing} 3", "\\weird{thing}3"), "ok") << "what cannot be read is met by its text";
  EXPECT_EQ(why("\\weird{thing} 3", "3"), "wrong_kind");
}

TEST(MathVerifier, EveryTextHasAVerdictInBoundedWork) {
  std::vector<std::string> texts;
  for (const char* piece :
       {"(",          "{",       "[",    "\\(",   "$",        "\\boxed{", "\\boxed{1}, ",
        "answer is ", "<think>", "!",    "1,",    "\\frac12", "-",        "\\sqrt{",
        "1\\pm",      "|",       "####", "$1$, ", "x",        "^",        "\\begin{pmatrix}",
        "9^"}) {
    std::string text;
    while (text.size() < 200'000) text += piece;
    texts.push_back(text);
    texts.push_back(text.substr(0, 4000));
  }
  texts.emplace_back("1" + std::string(150'000, '0'));
  texts.emplace_back("\0\x01\xff\xfe", 4);
  for (const std::string& text : texts) {
    for (const char* gold : {"5", "(1,2)", "\\{1,2,3\\}", "\\text{word}"})
      EXPECT_NE(why(gold, text), "") << text.substr(0, 20);
  }
}

TEST(Verifier, JudgesManyAnswersOnAllThreads) {
  ThreadPool threads(4);
  const Problem problem{.task = "math", .question = "Q", .gold = "\"\\\\frac{1}{2}\"", .key = ""};
  const Verifier verifier(problem);
  const std::vector<std::string> texts{"\\boxed{0.5}", "\\boxed{2}", "<think>x</think><answer>1/2</answer>",
                                       ""};
  std::vector<AnswerToJudge> answers;
  for (size_t i = 0; i < 1000; ++i) answers.push_back({&verifier, texts[i % texts.size()]});
  const std::vector<Verdict> verdicts = judge(threads, answers);
  ASSERT_EQ(verdicts.size(), answers.size());
  for (size_t i = 0; i < verdicts.size(); ++i) {
    ASSERT_EQ(verdicts[i].correct, i % 4 == 0 || i % 4 == 2) << i;
    ASSERT_EQ(verdicts[i].well_formed, i % 4 == 2) << "the format is the tags'";
    ASSERT_EQ(verdicts[i].why, i % 4 == 3 ? "no_answer" : i % 4 == 1 ? "wrong_value" : "ok");
  }
}

TEST(PlainForm, DropsDifferencesOfSpelling) {
  EXPECT_EQ(plain_form("\\tfrac12"), "\\frac{1}{2}");
  EXPECT_EQ(plain_form("x = 42"), "42");
  EXPECT_EQ(spelling_form("\\dfrac 1 2"), "\\frac{1}{2}");
  EXPECT_NE(spelling_form("50\\%"), spelling_form("50"));
}

}  // namespace
}  // namespace r1::math_verifier_test
