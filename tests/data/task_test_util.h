// tests/data/task_test_util.h: shared by the tests of generated tasks.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <string>
#include <vector>

#include "data/task.h"
#include "formats/json.h"

namespace r1::test {

// Calls check(problem) for `count` problems of each level of a task, on each side of the split.
template <class Check>
void for_problems(const std::string& task, int count, const Check& check) {
  for (const char* level : {":1", ":2", ":3"}) {
    for (const Split split : {Split::train, Split::held_out}) {
      for (int i = 0; i < count; ++i) {
        const Problem problem = make_problem(task + level, 11, static_cast<uint64_t>(i), split);
        SCOPED_TRACE(problem.question + " gold " + problem.gold);
        check(problem, parse_json(problem.gold, "gold"));
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

inline std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (const char c : text + " ") {
    if (words.empty()) words.emplace_back();
    if (c != ' ') {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  words.pop_back();
  return words;
}

// Returns the integers written in the text, without signs.
inline std::vector<int64_t> integers_of(const std::string& text) {
  std::vector<int64_t> out;
  bool open = false;
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) {
      open = false;
      continue;
    }
    if (!open) out.push_back(0);
    open = true;
    out.back() = out.back() * 10 + (c - '0');
  }
  return out;
}

}  // namespace r1::test
