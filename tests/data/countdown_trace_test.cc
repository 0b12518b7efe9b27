#include "data/countdown_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/corpus.h"
#include "data/countdown_question.h"

namespace r1::countdown_trace_test {
namespace {

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
    if (end == std::string::npos) return parts;
    begin = end + separator.size();
  }
}

// Walks a chain such as "12+3=15*4=60" from left to right. Returns its last result, or -1 if an equation is
// false.
int64_t walk_chain(const std::string& chain) {
  size_t at = 0;
  const auto integer = [&] {
    size_t used = 0;
    const int64_t value = std::stoll(chain.substr(at), &used);
    at += used;
    return value;
  };
  int64_t value = integer();
  while (at < chain.size()) {
    const char op = chain[at++];
    const int64_t right = integer();
    if (chain[at++] != '=') return -1;
    const int64_t result = integer();
    const bool fits = op == '+'   ? value + right == result
                      : op == '-' ? value - right == result
                      : op == '*' ? value * right == result
                                  : op == '/' && right != 0 && result * right == value;
    if (!fits) return -1;
    value = result;
  }
  return value;
}

struct Line {
  std::vector<int64_t> results;  // of each chain in the attempt
  bool yes = false;
};

Line read_line(std::string line) {
  Line out;
  out.yes = line.ends_with(" yes");
  EXPECT_TRUE(out.yes || line.ends_with(" no")) << line;
  line.resize(line.size() - (out.yes ? 4 : 3));
  for (const std::string& chain : split(line, ",")) {
    out.results.push_back(walk_chain(chain));
    EXPECT_GE(out.results.back(), 1) << "false or unreadable: " << chain << " in " << line;
  }
  return out;
}

TEST(CountdownTrace, EveryEquationIsTrueAndOnlyAHitSaysYes) {
  Random random(31);
  int correct = 0, longest = 0, chained = 0, cut = 0;
  int64_t attempts = 0;
  const int count = 20'000;
  for (int i = 0; i < count; ++i) {
    const CountdownProblem problem = make_problem(random, {});
    const CountdownTrace trace = make_trace(random, problem, {});
    const std::vector<std::string> lines = split(trace.thought, "\n");
    ASSERT_EQ(static_cast<int>(lines.size()), trace.attempts) << trace.thought;
    ASSERT_EQ(std::set<std::string>(lines.begin(), lines.end()).size(), lines.size()) << trace.thought;
    for (size_t k = 0; k < lines.size(); ++k) {
      const Line line = read_line(lines[k]);
      const bool hit = line.results.back() == problem.target;
      ASSERT_EQ(line.yes, hit) << trace.thought << " target " << problem.target;
      ASSERT_EQ(hit, k + 1 == lines.size() && trace.correct) << trace.thought << " target " << problem.target;
      const auto steps = static_cast<size_t>(std::count(lines[k].begin(), lines[k].end(), '='));
      ASSERT_EQ(steps, problem.numbers.size() - 1) << lines[k];
      (line.results.size() == 1 ? chained : cut) += 1;
    }
    ASSERT_FALSE(HasFailure());
    correct += trace.correct;
    attempts += trace.attempts;
    longest = std::max(longest, trace.attempts);
  }
  // Traces neither always stop early nor always late, so that a base model is rarely right, but often enough
  // to be rewarded.
  const double mean = static_cast<double>(attempts) / count;
  EXPECT_GT(mean, 1.2);
  EXPECT_LT(mean, 2.5);
  EXPECT_EQ(longest, TraceOptions{}.max_attempts);
  EXPECT_GT(correct, count / 20);
  EXPECT_LT(correct, count / 2);
  EXPECT_GT(chained, cut);
  EXPECT_GT(cut, count / 100);
}

TEST(CountdownTrace, ChainGoesOnWhereItCan) {
  Random random(32);
  int cut = 0;
  for (int i = 0; i < 2000; ++i) {
    const CountdownTrace trace = make_trace(random, {.numbers = {20, 31, 42}, .target = 93}, {});
    for (const std::string& line : split(trace.thought, "\n")) {
      // With three numbers, a cut is right only if the last result is subtracted or is a divisor.
      const size_t at = line.find(',');
      if (at == std::string::npos) continue;
      ++cut;
      ASSERT_NE(line.find_first_of("-/", at), std::string::npos) << line;
    }
  }
  EXPECT_GT(cut, 0);
}

TEST(CountdownTrace, OptionsSetLengthAndAim) {
  Random random(33);
  int tries[2] = {0, 0}, hits[2] = {0, 0};
  for (int i = 0; i < 5000; ++i) {
    const CountdownProblem problem = make_problem(random, {});
    ASSERT_EQ(make_trace(random, problem, {.stop = 1, .long_share = 0}).attempts, 1);
    ASSERT_LE(make_trace(random, problem, {.stop = 0, .max_attempts = 3}).attempts, 3);
    for (const int aimed : {0, 1}) {
      const CountdownTrace trace =
          make_trace(random, problem, {.stop = 1, .long_share = 0, .aimed = static_cast<double>(aimed)});
      ++tries[aimed];
      hits[aimed] += trace.correct;
    }
  }
  EXPECT_GT(hits[1], 2 * hits[0]) << "of " << tries[0];
  EXPECT_GT(hits[0], 0);
}

TEST(CountdownTrace, EndsWhereTheNumbersAllowNoMoreAttempts) {
  Random random(37);
  for (int i = 0; i < 100; ++i) {  // 1+1 and 1*1 are all that exists
    const CountdownTrace trace =
        make_trace(random, {.numbers = {1, 1}, .target = 24}, {.stop = 0, .long_share = 0});
    EXPECT_FALSE(trace.correct);
    EXPECT_EQ(trace.attempts, 2) << trace.thought;
  }
  EXPECT_THROW(make_trace(random, {.numbers = {5000, 3000}, .target = 24}, {}), Error);
}

TEST(CountdownTrace, IsAFunctionOfItsStream) {
  const CountdownProblem problem{.numbers = {3, 5, 7, 9}, .target = 24};
  for (uint64_t i = 0; i < 100; ++i) {
    Random a(34, i), b(34, i);
    EXPECT_EQ(to_document(make_trace(a, problem, {})), to_document(make_trace(b, problem, {})));
  }
}

TEST(CountdownTrace, RefusesImpossibleOptions) {
  Random random(35);
  const CountdownProblem problem{.numbers = {3, 5}, .target = 8};
  EXPECT_THROW(make_trace(random, problem, {.stop = 2}), Error);
  EXPECT_THROW(make_trace(random, problem, {.aimed = -1}), Error);
  EXPECT_THROW(make_trace(random, problem, {.max_attempts = 0}), Error);
  EXPECT_THROW(make_trace(random, {.numbers = {3}, .target = 3}, {}), Error);
}

TEST(CountdownTrace, CorpusHoldsNoHeldOutProblem) {
  for (uint64_t i = 0; i < 20'000; ++i) {
    const CorpusText text = make_corpus_text({}, 36, i);
    const auto asked = parse_question(text.question);
    ASSERT_TRUE(asked == text.problem) << text.question;
    ASSERT_FALSE(is_held_out(asked->numbers)) << text.question;
    if (i < 100) {
      ASSERT_EQ(make_corpus_text({}, 36, i).question, text.question);
    }
  }
}

}  // namespace
}  // namespace r1::countdown_trace_test
