#include "data/countdown_trace.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "data/countdown_question.h"
#include "data/task.h"

namespace r1 {
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

// "12+3=15*4=60": walks the chain, left to right, and returns its last result, or -1 where an equation is
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

void check_style(TraceStyle style) {
  Random random(31);
  int correct = 0, longest = 0;
  int64_t attempts = 0;
  const int count = 20'000;
  for (int i = 0; i < count; ++i) {
    const CountdownProblem problem = make_problem(random, {});
    const CountdownTrace trace = make_trace(random, problem, {.style = style});
    ASSERT_TRUE(trace.thought.ends_with('\n'));
    std::vector<std::string> lines = split(trace.thought, "\n");
    lines.pop_back();
    ASSERT_EQ(static_cast<int>(lines.size()), trace.attempts);
    for (size_t k = 0; k < lines.size(); ++k) {
      std::string line = lines[k];
      const bool hit = k + 1 == lines.size() && trace.correct;
      if (style == TraceStyle::steps) {
        const std::string mark = hit ? " yes" : " no";
        ASSERT_TRUE(line.ends_with(mark)) << line;
        line.resize(line.size() - mark.size());
      }
      const std::vector<std::string> chains = split(line, ", ");
      int64_t last = 0;
      for (const std::string& chain : chains) {
        last = walk_chain(chain);
        ASSERT_GE(last, 0) << "false or unreadable: " << chain << " in " << trace.thought;
      }
      ASSERT_EQ(last == problem.target, hit) << trace.thought << "target " << problem.target;
      if (style == TraceStyle::steps) {
        ASSERT_EQ(chains.size(), problem.numbers.size() - 1) << line;
      }
    }
    correct += trace.correct;
    attempts += trace.attempts;
    longest = std::max(longest, trace.attempts);
  }
  // An attempt hits with probability h (chance and planting); else one in two stops.
  const double hits = static_cast<double>(correct) / static_cast<double>(attempts);
  EXPECT_NEAR(static_cast<double>(attempts) / count, 1 / (0.5 + 0.5 * hits), 0.03);
  EXPECT_GT(longest, 8);
  EXPECT_LE(longest, 12);
  EXPECT_GT(correct, count / 50);  // at least what is planted
  EXPECT_LT(correct, count / 3);   // and far from solved
}

TEST(CountdownTrace, StepsAreTrueAndMarked) {
  check_style(TraceStyle::steps);
}
TEST(CountdownTrace, ChainsAreTrue) {
  check_style(TraceStyle::chained);
}

TEST(CountdownTrace, ChainGoesOnWhereItCan) {
  Random random(32);
  int chained = 0, cut = 0;
  for (int i = 0; i < 2000; ++i) {
    const CountdownTrace trace = make_trace(random, {.numbers = {20, 31, 42}, .target = 93},
                                            {.planted = 0, .style = TraceStyle::chained});
    for (const std::string& line : split(trace.thought, "\n")) {
      if (line.empty()) continue;
      (line.find(", ") == std::string::npos ? chained : cut) += 1;
      // Three numbers: a cut is only right where the last result is subtracted or divided by.
      if (const size_t at = line.find(", "); at != std::string::npos) {
        const std::string second = line.substr(at + 2);
        ASSERT_TRUE(second.find('-') != std::string::npos || second.find('/') != std::string::npos) << line;
      }
    }
  }
  EXPECT_GT(chained, cut);
  EXPECT_GT(cut, 0);
}

TEST(CountdownTrace, PlantedAttemptsHit) {
  Random random(33);
  int correct = 0;
  for (int i = 0; i < 500; ++i) {
    const CountdownTrace trace = make_trace(random, make_problem(random, {}), {.planted = 1});
    correct += trace.correct && trace.attempts == 1;
  }
  EXPECT_GT(correct, 490);  // a few four-number targets are too rare to draw
  EXPECT_FALSE(make_trace(random, {.numbers = {1, 1}, .target = 24}, {.planted = 1}).correct);
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
  EXPECT_THROW(make_trace(random, problem, {.planted = -1}), Error);
  EXPECT_THROW(make_trace(random, problem, {.max_attempts = 0}), Error);
  EXPECT_THROW(make_trace(random, {.numbers = {3}, .target = 3}, {}), Error);
}

TEST(CountdownTrace, CorpusHoldsNoHeldOutProblem) {
  for (uint64_t i = 0; i < 20'000; ++i) {
    const Problem problem = make_problem("countdown", 36, i, Split::train);
    Random random(36, i, 1);
    const std::string document =
        problem.question + "\n" + to_document(make_trace(random, countdown_of(problem), {}));
    const auto asked = parse_question(document.substr(0, document.find("\n<think>")));
    ASSERT_TRUE(asked.has_value()) << document;
    ASSERT_FALSE(is_held_out(asked->numbers)) << document;
  }
}

}  // namespace
}  // namespace r1
