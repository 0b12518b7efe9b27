// data/word_problems.h: the table of word problems' templates.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "data/rational.h"

namespace r1 {

// The numbers of a story and its answer, computed exactly.
struct Story {
  std::vector<int64_t> numbers;
  Rational answer;
};

struct StoryTemplate {
  std::string_view name;
  int level;
  // Returns nothing if the drawn numbers make no story (a negative rest, a fraction of a person).
  std::optional<Story> (*draw)(Random& random);
  // Forms as in phrasing.h: $1 .. $6 are the numbers, $N and $M two names, $t a thing that is bought and
  // counted.
  std::vector<std::string_view> forms;
};

const std::vector<StoryTemplate>& story_templates();

}  // namespace r1
