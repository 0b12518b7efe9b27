// data/word_problems.cc: picks a template of the level, its numbers, and words for them. The content is the
// template and the numbers; names and things are wording.
#include "data/word_problems.h"

#include <array>
#include <string>
#include <vector>

#include "data/phrasing.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

struct Drawn {
  const StoryTemplate* form = nullptr;
  Story story;
  std::string key;
};

// The story is drawn first and kept until its numbers make sense, so that all stories have the same share.
Drawn draw(Random& random, int level) {
  const StoryTemplate* form = nullptr;
  do form = &pick(random, story_templates());
  while (form->level != level);
  std::optional<Story> story;
  while (!story) story = form->draw(random);
  std::string key = "word_problems " + std::string(form->name);
  for (const int64_t number : story->numbers) key += ' ' + std::to_string(number);
  return {form, *story, key};
}

constexpr std::array<std::string_view, 20> kNames{
    "Ada",  "Ben",  "Carla", "David", "Emma", "Farid", "Grace", "Hugo", "Irene", "Jamal",
    "Kofi", "Lena", "Marco", "Nadia", "Omar", "Priya", "Rosa",  "Sam",  "Tanya", "Yuki"};
constexpr std::array<std::string_view, 12> kThings{"apples",   "pencils", "books",     "tickets",
                                                   "stickers", "mugs",    "oranges",   "cookies",
                                                   "candles",  "plants",  "notebooks", "shirts"};

}  // namespace

Problem make_word_problem(Random& random, int level, Split split) {
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, level); });
  const auto first = static_cast<size_t>(random.below(kNames.size()));
  const size_t second = (first + 1 + static_cast<size_t>(random.below(kNames.size() - 1))) % kNames.size();
  std::vector<Hole> holes{{'N', std::string(kNames[first])},
                          {'M', std::string(kNames[second])},
                          {'t', std::string(pick(random, kThings))}};
  for (size_t i = 0; i < drawn.story.numbers.size(); ++i) {
    holes.push_back({static_cast<char>('1' + i), std::to_string(drawn.story.numbers[i])});
  }
  return {.task = "word_problems",
          .question = phrase(random, pick(random, drawn.form->forms), holes),
          .gold = Json(to_text(drawn.story.answer)).dump(),
          .key = drawn.key};
}

}  // namespace r1
