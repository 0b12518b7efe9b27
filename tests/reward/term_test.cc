// Rewards of samples: each term alone, and the sum.
#include "reward/term.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "reward/language.h"
#include "reward/repetition.h"

namespace r1::term_test {
namespace {

TermSample sample(bool correct, bool well_formed, int64_t tokens, bool failed = false) {
  return {.response = {}, .correct = correct, .well_formed = well_formed, .tokens = tokens, .failed = failed};
}

// Returns the weighted sums of the group's terms, added in the documented order.
std::vector<double> paid(const RewardConfig& config, const std::vector<TermSample>& group, int64_t cap) {
  std::vector<double> sum(group.size());
  bool first = true;
  for (const WeightedTerm& term : make_terms(config, cap)) {
    const std::vector<double> values = term.term->values(group);
    for (size_t i = 0; i < group.size(); ++i)
      sum[i] = first ? term.weight * values[i] : sum[i] + term.weight * values[i];
    first = false;
  }
  return sum;
}

TEST(Term, TheOrderOfTheSumIsFixed) {
  RewardConfig all;
  all.format = all.overlong = all.brevity = all.language = all.repetition = all.length = 0.1;
  all.overlong_tokens = 1;
  std::vector<std::string> names;
  for (const WeightedTerm& term : make_terms(all, 10)) names.push_back(term.name);
  EXPECT_EQ(names, (std::vector<std::string>{"accuracy", "format", "overlong", "brevity", "language",
                                             "repetition", "length"}));
}

TEST(Term, CorrectnessAndFormatAddUp) {
  RewardConfig config;
  config.accuracy = 2;
  config.format = 0.5;
  EXPECT_EQ(paid(config, {sample(true, true, 5), sample(false, true, 5), sample(false, false, 5)}, 10),
            (std::vector<double>{2.5, 0.5, 0}));
}

TEST(Term, OverlongFallsLinearlyToTheCap) {
  RewardConfig config;
  config.accuracy = 0;
  config.overlong = 0.5;
  config.overlong_tokens = 4;
  EXPECT_EQ(
      paid(config,
           {sample(true, true, 15), sample(true, true, 16), sample(true, true, 17), sample(false, true, 20)},
           20),
      (std::vector<double>{0, 0, -0.125, -0.5}));
}

TEST(Term, BrevityComparesTheCorrectAnswersOfAGroupOnly) {
  RewardConfig config;
  config.brevity = 0.1;
  // The mean of correct answers of 10 and 30 tokens is 20. A short wrong answer gets nothing.
  EXPECT_EQ(
      paid(config,
           {sample(true, true, 10), sample(true, true, 30), sample(false, true, 1), sample(false, false, 99)},
           100),
      (std::vector<double>{1.05, 0.95, 0, 0}));
  EXPECT_EQ(paid(config, {sample(true, true, 10), sample(false, true, 3)}, 100), (std::vector<double>{1, 0}));
  // The term of an answer far longer than the mean stays within its weight.
  std::vector<TermSample> many(9, sample(true, true, 1));
  many.push_back(sample(true, true, 1000));
  EXPECT_DOUBLE_EQ(paid(config, many, 1000).back(), 0.9);
}

TEST(Term, FailedSamplesAreNoPartOfTheirGroup) {
  RewardConfig config;
  config.brevity = config.length = 0.1;
  const auto with =
      paid(config, {sample(true, true, 10), sample(true, true, 30), sample(true, true, 5, true)}, 100);
  const auto without = paid(config, {sample(true, true, 10), sample(true, true, 30)}, 100);
  EXPECT_EQ(std::vector<double>(with.begin(), with.begin() + 2), without);
  EXPECT_EQ(with[2], 0);
}

TEST(Term, LengthIsKimisWithoutATarget) {
  RewardConfig config;
  config.accuracy = 0;
  config.length = 2;
  EXPECT_EQ(paid(config,
                 {sample(true, true, 10), sample(true, true, 30), sample(false, true, 10),
                  sample(false, true, 20), sample(false, true, 30)},
                 100),
            (std::vector<double>{1, -1, 0, 0, -1}));
  EXPECT_EQ(paid(config, {sample(true, true, 7), sample(false, true, 7)}, 100), (std::vector<double>{0, 0}));
}

TEST(Term, LengthFallsWithTheDistanceToATarget) {
  RewardConfig config;
  config.accuracy = 0;
  config.length = 1;
  config.length_target = 20;
  EXPECT_EQ(
      paid(config,
           {sample(true, true, 20), sample(false, true, 15), sample(true, true, 25), sample(true, true, 90)},
           100),
      (std::vector<double>{0, -0.25, -0.25, -1}));
}

TEST(Language, WordsOfAnotherScriptAreNotTheTargets) {
  EXPECT_EQ(language_consistency("<think>We add the numbers.</think><answer>4</answer>", "en"), 1);
  EXPECT_EQ(language_consistency("<think>我们把数字加起来</think><answer>four</answer>", "en"), 0);
  EXPECT_EQ(language_consistency("<think>我们把数字加起来</think><answer>four</answer>", "zh"), 1);
  EXPECT_EQ(language_consistency("<think>We add 我们把数 them.</think>", "en"), 0.6)
      << "three words and two of Han";
  EXPECT_EQ(language_consistency("Сначала сложим числа", "ru"), 1);
  EXPECT_EQ(language_consistency("Сначала сложим numbers", "ru"), 2.0 / 3);
  EXPECT_EQ(language_consistency("ひらがなとカタカナと漢字", "ja"), 1);
  EXPECT_EQ(language_consistency("먼저 숫자를 더합니다", "ko"), 1);
  EXPECT_EQ(language_consistency("أولا نجمع الأرقام", "ar"), 1);
}

TEST(Language, WordsThatEveryoneKnowsTellLanguagesOfOneScriptApart) {
  const char* english = "First we need to find the sum of all the numbers in this list.";
  const char* french = "Nous devons trouver la somme de tous les nombres dans cette liste.";
  const char* german = "Wir müssen die Summe aller Zahlen in dieser Liste finden.";
  const char* spanish = "Primero hay que sumar todos los números de la lista.";
  for (const auto& [text, language] :
       {std::pair{english, "en"}, {french, "fr"}, {german, "de"}, {spanish, "es"}}) {
    for (const char* target : {"en", "fr", "de", "es"}) {
      const double share = language_consistency(text, target);
      if (std::string_view(target) == language) {
        EXPECT_EQ(share, 1) << text << " " << target;
      } else {
        EXPECT_LT(share, 0.35) << text << " " << target;
      }
    }
  }
  EXPECT_NEAR(language_consistency(std::string(english) + "\n" + french, "en"), 0.5, 0.1);
}

TEST(Language, FormulasAndTagsAreNoWords) {
  EXPECT_EQ(count_language("3 + 5 = 8, x = \\frac{1}{2} <answer> 我们", "en").words, 1);
  EXPECT_EQ(language_consistency("<think>3+5=8</think><answer>8</answer>", "en"), 1)
      << "nothing is in another language";
  EXPECT_EQ(count_language("\xFF\xFE word", "en").words, 1);
  EXPECT_THROW(count_language("", "english"), Error);
}

TEST(Repetition, IsTheShareOfNgramsThatCameBefore) {
  EXPECT_EQ(repetition_of("a b c d e f", 3), 0);
  EXPECT_EQ(repetition_of("a b a b a b", 2), 0.6);  // ab ba ab ba ab: two of five differ
  EXPECT_EQ(repetition_of("A b a B", 2), 1 - 2.0 / 3);
  EXPECT_EQ(repetition_of("a b", 3), 0);
  EXPECT_EQ(repetition_of("", 1), 0);
  EXPECT_GT(repetition_of(std::string(1000, 'a'), 3), 0.9) << "a word without end is no way out";
  EXPECT_GT(repetition_of("3+5=8 3+5=8 3+5=8 3+5=8", 4), 0.6);
}

}  // namespace
}  // namespace r1::term_test
