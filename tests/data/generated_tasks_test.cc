// Properties of every generated task: determinism, levels, the split by content, many wordings, clear errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/sanitizer.h"
#include "data/countdown.h"
#include "data/task.h"

namespace r1::generated_tasks_test {
namespace {

// The sanitizers are ten times slower.
constexpr int kScale = kAddressSanitizer ? 10 : 1;

// Every task, and every level of the tasks that have levels.
std::vector<std::string> all_names() {
  std::vector<std::string> names = task_names();
  for (const std::string& name : task_names()) {
    if (!has_levels(name)) continue;
    for (const char* level : {":1", ":2", ":3"}) names.push_back(name + level);
  }
  return names;
}

bool is_game24(const std::string& name) {
  return name.starts_with("game24");
}

std::string error_of(const std::string& name, Split split) {
  try {
    make_problem(name, 1, 1, split);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(GeneratedTasks, AreTheseWithTheseVerifiers) {
  std::map<std::string, std::string> verifiers;
  for (const std::string& name : task_names()) verifiers[name] = verifier_name(name);
  EXPECT_EQ(verifiers, (std::map<std::string, std::string>{{"countdown", "countdown"},
                                                           {"countdown3", "countdown"},
                                                           {"countdown4", "countdown"},
                                                           {"countdown99", "countdown"},
                                                           {"arithmetic", "number"},
                                                           {"equations", "equation"},
                                                           {"base_conversion", "digits"},
                                                           {"calendar", "calendar"},
                                                           {"knights_knaves", "roles"},
                                                           {"sequences", "number"},
                                                           {"word_problems", "number"},
                                                           {"game24", "countdown"}}));
  EXPECT_EQ(verifier_name("arithmetic:2"), "number");
  EXPECT_EQ(verifier_name("expression"), "expression");
  EXPECT_FALSE(has_levels("countdown"));
  EXPECT_TRUE(has_levels("game24"));
}

TEST(GeneratedTasks, ProblemsArePureFunctionsOfTheirArguments) {
  for (const std::string& name : all_names()) {
    for (const Split split : {Split::train, Split::held_out}) {
      if (is_game24(name) && split == Split::train) continue;
      for (uint64_t i = 0; i < 40; ++i) {
        const Problem problem = make_problem(name, 41, i, split);
        ASSERT_EQ(problem, make_problem(name, 41, i, split)) << name;
        ASSERT_EQ(problem.task, name);
        ASSERT_FALSE(problem.question.empty() || problem.gold.empty() || problem.key.empty());
      }
    }
    const Split held_out = Split::held_out;
    EXPECT_NE(make_problem(name, 41, 0, held_out), make_problem(name, 42, 0, held_out)) << name;
    EXPECT_NE(make_problem(name, 41, 0, held_out), make_problem(name, 41, 1, held_out)) << name;
  }
}

// Recorded runs name their problems by (task, seed, index), so no list may ever change. The lists of
// countdown date from the time before there were other tasks.
TEST(GeneratedTasks, ListsArePinned) {
  const auto digest = [](const std::string& name, Split split) {
    std::string all;
    for (uint64_t i = 0; i < 300; ++i) {
      const Problem p = make_problem(name, 7, i, split);
      all += p.task + "\n" + p.question + "\n" + p.gold + "\n";
    }
    return sha256_hex(all).substr(0, 16);
  };
  const std::map<std::string, std::pair<std::string, std::string>> pinned{
      {"countdown", {"1f601cec67ef125e", "36672bab507a18fa"}},
      {"countdown3", {"5d8182d0a98abe4c", "40a8833415b3a4c4"}},
      {"countdown4", {"8c3c7ed2c9f69eff", "f0e4a7aefc40939b"}},
      {"countdown99", {"cd82d9df0552c83b", "4ca4a141bbb23b79"}},
      {"arithmetic", {"4bc56fb7177a28ef", "cc6b0b19af36ce49"}},
      {"equations", {"66070330421f8be8", "b97954124a3227da"}},
      {"base_conversion", {"ebec20040a73641d", "a000c4bd6f3cd895"}},
      {"calendar", {"2846b18420208756", "7928d0440bc50456"}},
      {"knights_knaves", {"7a039c2ad0adc391", "fbbb60cb2f2a1441"}},
      {"sequences", {"e8cf5fae311ff064", "c10bdf1f3cb92397"}},
      {"word_problems", {"d5235fc581950151", "ecd62bda4bc44648"}},
      {"game24", {"", "5292416de1ebe790"}},
  };
  EXPECT_EQ(pinned.size(), task_names().size());
  for (const auto& [name, want] : pinned) {
    if (!is_game24(name)) {
      EXPECT_EQ(digest(name, Split::train), want.first) << name;
    }
    EXPECT_EQ(digest(name, Split::held_out), want.second) << name;
  }
}

TEST(GeneratedTasks, HeldOutContentsNeverEnterTrainingNorTheOtherWayRound) {
  for (const std::string& name : all_names()) {
    if (is_game24(name)) continue;
    const bool countdown = name.starts_with("countdown");
    std::unordered_set<std::string> trained;
    for (uint64_t i = 0; i < static_cast<uint64_t>((countdown ? 400 : 3000) / kScale); ++i) {
      const Problem problem = make_problem(name, 17, i, Split::train);
      ASSERT_FALSE(is_held_out_content(problem.key)) << problem.key;
      trained.insert(problem.key);
    }
    std::set<std::string> held;
    for (uint64_t i = 0; i < static_cast<uint64_t>((countdown ? 100 : 500) / kScale); ++i) {
      const Problem problem = make_problem(name, 17, i, Split::held_out);
      ASSERT_TRUE(is_held_out_content(problem.key)) << problem.key;
      ASSERT_FALSE(trained.contains(problem.key)) << problem.key;
      held.insert(problem.key);
    }
    if (kScale == 1) {
      EXPECT_GT(held.size(), 25u) << name;
      EXPECT_GT(trained.size(), countdown ? 300u : 500u) << name;
    }
  }
}

TEST(GeneratedTasks, HoldOutOneContentInTwenty) {
  int held = 0;
  const int count = 20'000 / kScale;
  for (int i = 0; i < count; ++i) held += is_held_out_content("sequences " + std::to_string(i));
  EXPECT_NEAR(static_cast<double>(held) / count, 0.05, kScale == 1 ? 0.007 : 0.02);
  EXPECT_TRUE(is_held_out_content("countdown 3 4 7"));  // printf 'countdown 3 4 7' | sha256sum
  EXPECT_FALSE(is_held_out_content("countdown 3 5 7"));
}

TEST(GeneratedTasks, LevelsAreApartAndTheMixHasAllOfThem) {
  // These contents can be drawn on one level only, so the mix must show each of them.
  const std::map<std::string, std::vector<std::string>> signs{
      {"word_problems", {"word_problems change", "word_problems fence", "word_problems legs"}},
      {"knights_knaves", {"knights_knaves 2", "knights_knaves 3", "knights_knaves 4"}},
  };
  for (const auto& [name, keys] : signs) {
    for (size_t level = 0; level < keys.size(); ++level) {
      int in_mix = 0;
      for (uint64_t i = 0; i < 400; ++i) {
        in_mix += make_problem(name, 23, i, Split::train).key.starts_with(keys[level]);
      }
      EXPECT_GT(in_mix, 5) << keys[level];
    }
  }
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_FALSE(make_problem("knights_knaves:1", 23, i, Split::train).key.starts_with("knights_knaves 4"));
    EXPECT_TRUE(make_problem("knights_knaves:3", 23, i, Split::train).key.starts_with("knights_knaves 4"));
  }
}

TEST(GeneratedTasks, NoAnswerIsCommonEnoughToGuess) {
  for (const std::string& name : all_names()) {
    if (name.starts_with("countdown") || is_game24(name)) continue;
    std::map<std::string, int> golds;
    const int count = 1000 / kScale;
    for (int i = 0; i < count; ++i) {
      ++golds[make_problem(name, 29, static_cast<uint64_t>(i), Split::train).gold];
    }
    const auto most = std::ranges::max_element(golds, {}, [](const auto& g) { return g.second; });
    EXPECT_LE(most->second, count / 6) << name << " " << most->first;  // weekdays: 1/7 of 1/4
  }
}

TEST(GeneratedTasks, AreWordedInManyWays) {
  for (const std::string& name : task_names()) {
    std::set<std::string> shapes;  // questions with every run of digits replaced by one mark
    for (uint64_t i = 0; i < 300; ++i) {
      std::string shape;
      for (const char c : make_problem(name, 31, i, Split::held_out).question) {
        const bool digit = c >= '0' && c <= '9';
        if (!digit) shape += c;
        if (digit && !shape.ends_with('#')) shape += '#';
      }
      shapes.insert(shape);
      ASSERT_EQ(shape.find("  "), std::string::npos) << shape;
      ASSERT_TRUE(shape.front() != ' ' && shape.back() != ' ') << shape;
      ASSERT_EQ(shape.find_first_of("$[]"), shape.find("[#")) << shape;  // countdown may list [3, 5, 7]
    }
    EXPECT_GT(shapes.size(), 20u) << name;
  }
}

TEST(GeneratedTasks, Game24HandsAreAllSolvableAndHarderWithTheLevel) {
  std::map<std::string, int64_t> solutions;
  for (const std::string name : {"game24:1", "game24:2", "game24:3"}) {
    for (uint64_t i = 0; i < 60; ++i) {
      const CountdownProblem hand = countdown_of(make_problem(name, 3, i, Split::held_out));
      ASSERT_TRUE(is_game24_hand(hand.numbers));
      ASSERT_EQ(hand.target, 24);
      ASSERT_TRUE(solve(hand.numbers, 24).has_value());
      solutions[name] += count_solutions(hand.numbers, 24);
    }
  }
  EXPECT_GT(solutions["game24:1"], solutions["game24:2"]);
  EXPECT_GT(solutions["game24:2"], solutions["game24:3"]);
  EXPECT_EQ(solutions["game24:3"], 60);
}

TEST(GeneratedTasks, UnknownNamesAndLevelsAreOneErrorWithTheNearest) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"cuontdown", "unknown task cuontdown (did you mean countdown?)"},
      {"arithmetics", "unknown task arithmetics (did you mean arithmetic?)"},
      {"arithmatic:2", "unknown task arithmatic:2 (did you mean arithmetic:2?)"},
      {"arithmatic:7", "unknown task arithmatic:7 (did you mean arithmetic?)"},
      {"arithmetic:4", "unknown task arithmetic:4: levels are 1 to 3 (did you mean arithmetic:3?)"},
      {"arithmetic:0", "unknown task arithmetic:0: levels are 1 to 3 (did you mean arithmetic:1?)"},
      {"arithmetic:", "unknown task arithmetic:: levels are 1 to 3 (did you mean arithmetic:1?)"},
      {"arithmetic:22", "unknown task arithmetic:22: levels are 1 to 3 (did you mean arithmetic:3?)"},
      {"countdown3:1", "unknown task countdown3:1: countdown3 has no levels (did you mean countdown3?)"},
      {"sudoku-sized things",
       "unknown task sudoku-sized things (known: countdown, countdown3, countdown4, countdown99, "
       "arithmetic, equations, base_conversion, calendar, knights_knaves, sequences, word_problems, game24)"},
      {"expression", "task expression is not generated: give a file of problems instead"},
  };
  for (const auto& [name, want] : cases) EXPECT_EQ(error_of(name, Split::held_out), want);
}

TEST(GeneratedTasks, Game24HasNoTrainingProblems) {
  const std::string want =
      " has no training problems: every hand of the Game of 24 is held out, so that results on it are never "
      "of "
      "hands seen in training";
  EXPECT_EQ(error_of("game24", Split::train), "task game24" + want);
  EXPECT_EQ(error_of("game24:2", Split::train), "task game24" + want);
  EXPECT_THROW(check_task("game24", Split::train), Error);
  EXPECT_NO_THROW(check_task("game24:1", Split::held_out));
}

}  // namespace
}  // namespace r1::generated_tasks_test
