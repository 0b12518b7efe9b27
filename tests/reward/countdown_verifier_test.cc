#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "reward/countdown.h"
#include "reward/response.h"
#include "reward/verifier.h"

namespace r1::countdown_verifier_test {
namespace {

const CountdownProblem kProblem{.numbers = {3, 5, 7}, .target = 26};  // 3*7+5

std::string wrap(const std::string& answer) {
  return "<think>3*7=21, 21+5=26 yes</think><answer>" + answer + "</answer>";
}

TEST(Countdown, AcceptsEveryWayToWriteARightAnswer) {
  for (const char* answer : {"3*7+5", "5+7*3", " 5 + (3 * 7) ", "((7))×3+5", "3·7+5", "\n3*7+5\n"}) {
    const Verdict verdict = verify_countdown(kProblem, wrap(answer));
    EXPECT_TRUE(verdict.correct && verdict.well_formed) << answer << ": " << verdict.why;
    EXPECT_EQ(verdict.why, "ok") << answer;
  }
  EXPECT_TRUE(verify_countdown(kProblem, " \n<think>\nhm\n</think>\n\n<answer>3*7+5</answer>\n").correct);
  EXPECT_TRUE(verify_countdown(kProblem, "<think></think><answer>3*7+5</answer>").correct);
  EXPECT_TRUE(verify_countdown({.numbers = {3, 3, 8, 8}, .target = 24}, wrap("8/(3-8/3)")).correct);
  EXPECT_TRUE(verify_countdown({.numbers = {5, 3}, .target = -2}, wrap("3-5")).correct);
}

TEST(Countdown, AcceptsLatexAndASignInFront) {
  for (const char* answer :
       {"3 \\times 7 + 5", "5 + 3 \\cdot 7", "$3\\times7+5$", "\\boxed{3*7+5}", "\\(5+7\\times 3\\)",
        "\\left(3\\times 7\\right)+5", "+3*7+5", "-(-3*7)+5", "03*07+5"}) {
    EXPECT_EQ(verify_countdown(kProblem, wrap(answer)).why, "ok") << answer;
  }
  EXPECT_EQ(verify_countdown({.numbers = {3, 29}, .target = 26}, wrap("-3+29")).why, "ok");
  EXPECT_EQ(verify_countdown({.numbers = {3, 29}, .target = 26}, wrap("29+-3")).why,
            "bad_expression:unary_sign");
  EXPECT_EQ(verify_countdown({.numbers = {3, 3, 8, 8}, .target = 24}, wrap("\\frac{8}{3-\\frac{8}{3}}")).why,
            "ok");
  const Verdict boxed = verify_countdown(kProblem, "<think>hm</think>\nSo \\boxed{3 \\times 7 + 5} it is.");
  EXPECT_TRUE(boxed.correct);
  EXPECT_FALSE(boxed.well_formed);
  EXPECT_EQ(verify_countdown(kProblem, "<think>hm</think>\\boxed{3*7}").why, "number_unused");
}

TEST(Countdown, RefusesPowersAndGluedDigits) {
  EXPECT_EQ(verify_countdown(kProblem, wrap("3**5*7")).why, "bad_expression:power");
  EXPECT_EQ(verify_countdown(kProblem, wrap("35-7")).why, "digits_glued");
  EXPECT_EQ(verify_countdown(kProblem, wrap("53-7")).why, "digits_glued");
  EXPECT_EQ(verify_countdown(kProblem, wrap("3 5-7")).why, "bad_expression:missing_operator");
}

TEST(Countdown, NamesWhatIsWrongWithAnAnswer) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"3*5+7", "wrong_value"},
      {"(3+5)*7/2", "number_not_given"},
      {"26", "number_not_given"},
      {"3*7", "number_unused"},
      {"3*7+5+5-5", "number_reused"},
      {"3*7+3", "number_reused"},
      {"5*5+7/7", "number_reused"},
      {"", "bad_expression:empty"},
      {"3*7+5=26", "bad_expression:equals_sign"},
      {"26=3*7+5", "bad_expression:equals_sign"},
      {"3*7+5 works", "bad_expression:trailing_text"},
      {"3*7+(5", "bad_expression:unbalanced"},
      {"3/(7-7)+5", "bad_expression:division_by_zero"},
      {"-5+31", "number_not_given"},
      {"5--21", "bad_expression:unary_sign"},
      {"7//3", "bad_expression:floor_division"},
      {"3.0*7+5", "bad_expression:decimal"},
      {"\\boxed{3*7+5} or so", "bad_expression:unknown_character"},
      {"\\boxed{3*7+6}", "number_not_given"},
      {"3*7+5\n5+3*7", "bad_expression:missing_operator"},
      {"99999999999999999999", "bad_expression:number_too_large"},
  };
  for (const auto& [answer, why] : cases) {
    const Verdict verdict = verify_countdown(kProblem, wrap(answer));
    EXPECT_EQ(verdict.why, why) << answer;
    EXPECT_FALSE(verdict.correct) << answer;
    EXPECT_TRUE(verdict.well_formed) << answer;
  }
}

TEST(Countdown, WantsEachTagOnceInOrderAndNothingAround) {
  const std::string a = "<answer>3*7+5</answer>";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "no_think"},
      {"3*7+5", "no_think"},
      {a, "no_think"},
      {"hm</think>" + a, "no_think"},
      {"<THINK>hm</THINK>" + a, "no_think"},
      {"Well. <think>hm</think>" + a, "text_before_think"},
      {a + "<think>hm</think>", "text_before_think"},
      {"<think>hm</think>" + a + " done", "text_after_answer"},
      {"<think>hm</think>" + a + a, "repeated_tag"},
      {"<think>hm <think></think>" + a, "repeated_tag"},
      {"<think>hm</think></think>" + a, "repeated_tag"},
      {"<think>so <answer>1</answer></think>" + a, "repeated_tag"},
      {"<think>hm</think> so " + a, "text_before_answer"},
      {"<think>hm", "truncated"},
      {"<think>", "truncated"},
      {"<think>hm</think><answer>3*7+5", "truncated"},
      {"<think>hm</think><answer>3*7+5</answ", "truncated"},
      {"<think>hm</think>", "no_answer"},
      {"<think>hm</think>3*7+5", "no_answer"},
      {"<think>hm</think>\\boxed{3*7+5", "no_answer"},
      {"<think>hm</think>\\boxed{3*7+5}</answer>", "no_answer"},
      {"<think>hm</think>3*7+5</answer>", "no_answer"},
      {"<think>hm</think></answer>3*7+5<answer>", "tags_out_of_order"},
      {"<think>hm" + a + "</think>", "tags_out_of_order"},
      {"<think>hm" + a, "tags_out_of_order"},
  };
  for (const auto& [text, why] : cases) {
    const Verdict verdict = verify_countdown(kProblem, text);
    EXPECT_EQ(verdict.why, why) << text;
    EXPECT_FALSE(verdict.correct || verdict.well_formed) << text;
  }
}

TEST(Countdown, IsTotalOnShuffledTagsAndBytes) {
  const std::vector<std::string> pieces{"<think>", "</think>", "<answer>", "</answer>", "3",   "*7",
                                        "+5",      " ",        "(",        "<",         "\xff"};
  Random random(3);
  int correct = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::vector<std::string> parts{"<think>", "</think>", "<answer>", "3", "*7", "+5", "</answer>"};
    const int64_t mutations = random.below(4);
    for (int64_t k = 0; k < mutations; ++k) {
      const auto at = random.below(static_cast<int64_t>(parts.size()));
      const std::string& piece =
          pieces[static_cast<size_t>(random.below(static_cast<int64_t>(pieces.size())))];
      if (random.below(2) == 0) {
        parts.insert(parts.begin() + at, piece);
      } else {
        parts[static_cast<size_t>(at)] = piece;
      }
    }
    std::string text;
    for (const std::string& part : parts) text += part;
    const Verdict verdict = verify_countdown(kProblem, text);
    ASSERT_EQ(verdict.correct, verdict.why == "ok") << text;
    ASSERT_TRUE(!verdict.correct || verdict.well_formed) << text;  // the text has no \\boxed
    correct += verdict.correct;
  }
  EXPECT_GT(correct, 50'000);   // about a quarter are not mutated
  EXPECT_LT(correct, 100'000);  // white space and equal numbers excuse some
}

TEST(VerifyExpression, ComparesValuesAndNumbers) {
  EXPECT_TRUE(verify_expression("24", "3*8").correct);
  EXPECT_TRUE(verify_expression("-2", "3-5").correct);
  EXPECT_TRUE(verify_expression("7/2", "(3+4)/2").correct);
  EXPECT_TRUE(verify_expression("(1+3)*(2+4)", "6*4").correct);
  EXPECT_EQ(verify_expression("24", "3*9").why, "wrong_value");
  EXPECT_EQ(verify_expression("24", "3*8 ok").why, "bad_expression:trailing_text");
  const std::vector<int> numbers{3, 8};
  EXPECT_TRUE(verify_expression("24", "8*3", numbers).correct);
  EXPECT_EQ(verify_expression("24", "4*6", numbers).why, "number_not_given");
  EXPECT_EQ(verify_expression("38", "38", numbers).why, "digits_glued");
  EXPECT_TRUE(verify_expression("24", "<think>8*3=24</think><answer>8*3</answer>", numbers).correct);
  const Verdict malformed = verify_expression("24", "<answer>8*3</answer>", numbers);
  EXPECT_EQ(malformed.why, "no_think");
  EXPECT_FALSE(malformed.well_formed);
  for (const auto& [gold, pred] : std::vector<std::pair<std::string, std::string>>{
           {"1.5", "3/2"},
           {"0.5", ".5"},
           {"0.5", "50%"},
           {"1.5", "1+0.5"},
           {"$1,000", "10*100"},
           {"\\frac12", "0.5"},
           {"016", "4*4"},
           {"123456789012345678901234567890", "123456789012345678901234567890"}}) {
    EXPECT_EQ(verify_expression(gold, pred).why, "ok") << gold << " " << pred;
  }
  for (const char* gold : {"", "twenty", "--2", "3+", "- 3 4", "5/0"}) {
    EXPECT_THROW(verify_expression(gold, "1"), Error) << gold;
  }
}

TEST(Verifier, DispatchesOnTheTask) {
  const Problem countdown = countdown_task(kProblem, 0);
  EXPECT_TRUE(verify(countdown, wrap("3*7+5")).correct);
  EXPECT_EQ(verify(countdown, wrap("3*7-5")).why, "wrong_value");
  const Problem expression{.task = "expression", .question = "What is 4*6?", .gold = "\"24\"", .key = ""};
  EXPECT_TRUE(verify(expression, wrap("24")).correct);
  EXPECT_EQ(verify(expression, "24").why, "no_think");
  Problem unknown = countdown;
  unknown.task = "countdwon";
  try {
    verify(unknown, wrap("3*7+5"));
    FAIL() << "an unknown task was verified";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean countdown?"), std::string::npos) << e.what();
  }
  Problem broken = countdown;
  broken.gold = "{\"numbers\":[3]}";
  EXPECT_THROW(verify(broken, wrap("3")), Error);
}

}  // namespace
}  // namespace r1::countdown_verifier_test
