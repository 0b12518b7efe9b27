#include "data/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text_util.h"
#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

constexpr int kLevels = 3;

struct Task {
  std::string_view name;
  // Random's substream: one per task, level and split, so that no two lists share draws. Never renumber:
  // recorded runs name problems by (seed, index).
  uint32_t stream;
  Problem (*make)(Random& random, int level, Split split);  // none: problems come from files only
  std::string_view verifier;
  bool levels = true;
  std::string_view no_training = "";  // why all of it is held out
};

// This task predates levels; its draws are frozen.
Problem draw_countdown(Random& random, Split split, double four_numbers) {
  const CountdownProblem drawn = make_problem(random, {.four_numbers = four_numbers, .split = split});
  return countdown_task(drawn, static_cast<int>(random.below(kPhrasings)));
}

Problem make_countdown(Random& random, int, Split split) {
  return draw_countdown(random, split, CountdownOptions{}.four_numbers);
}
Problem make_countdown3(Random& random, int, Split split) {
  return draw_countdown(random, split, 0);
}
Problem make_countdown4(Random& random, int, Split split) {
  return draw_countdown(random, split, 1);
}

Problem make_countdown99(Random& random, int, Split split) {
  const CountdownProblem drawn = make_problem(random, countdown99_options(split));
  return countdown_task(drawn, static_cast<int>(random.below(kPhrasings)));
}

constexpr auto kTasks = std::to_array<Task>({
    {"countdown", 0, make_countdown, "countdown", false},
    {"countdown3", 1, make_countdown3, "countdown", false},
    {"countdown4", 2, make_countdown4, "countdown", false},
    {"countdown99", 16, make_countdown99, "countdown", false},
    {"arithmetic", 3, make_arithmetic, "number"},
    {"equations", 4, make_equation, "equation"},
    {"base_conversion", 5, make_base_conversion, "digits"},
    {"calendar", 6, make_calendar, "calendar"},
    {"knights_knaves", 7, make_knights_knaves, "roles"},
    {"sequences", 8, make_sequence, "number"},
    {"word_problems", 9, make_word_problem, "number"},
    {"game24", 10, make_game24, "countdown", true,
     "every hand of the Game of 24 is held out, so that results on it are never of hands seen in training"},
    {"expression", 11, nullptr, "expression", false},
    {"math", 12, nullptr, "math", false},
    {"text", 13, nullptr, "text", false},
    {"regex", 14, nullptr, "regex", false},
    {"json", 15, nullptr, "json", false},
});

const Task* find_row(std::string_view name) {
  const auto row = std::ranges::find(kTasks, name, &Task::name);
  return row == kTasks.end() ? nullptr : &*row;
}

struct Named {
  const Task* task;
  int level;  // 0: none was named
};

Named find_task(std::string_view name) {
  const size_t colon = name.find(':');
  const std::string_view base = name.substr(0, colon);
  const std::string_view level = colon == std::string_view::npos ? "" : name.substr(colon + 1);
  const bool known_level = level.size() == 1 && level[0] >= '1' && level[0] < '1' + kLevels;
  if (const Task* task = find_row(base)) {
    if (colon == std::string_view::npos) return {task, 0};
    if (!task->levels) {
      throw Error(fmt::format("unknown task {}: {} has no levels (did you mean {}?)", name, base, base));
    }
    if (known_level) return {task, level[0] - '0'};
    const bool low = level.empty() || level[0] == '0' || level[0] == '-';
    throw Error(fmt::format("unknown task {}: levels are 1 to {} (did you mean {}:{}?)", name, kLevels, base,
                            low ? 1 : kLevels));
  }
  const auto& names = task_names();
  std::string near = nearest_name(base, names);
  if (near.empty()) throw Error(fmt::format("unknown task {} (known: {})", name, fmt::join(names, ", ")));
  if (known_level && has_levels(near)) near += name.substr(colon);
  throw Error(fmt::format("unknown task {} (did you mean {}?)", name, near));
}

void check_split(const Task& task, Split split) {
  if (task.make == nullptr) {
    throw Error(fmt::format("task {} is not generated: give a file of problems instead", task.name));
  }
  if (split == Split::train && !task.no_training.empty()) {
    throw Error(fmt::format("task {} has no training problems: {}", task.name, task.no_training));
  }
}

uint32_t substream_of(const Named& named, Split split) {
  constexpr uint32_t kTaskStreams = 0x7461736B;  // "task"
  return kTaskStreams + 2 * named.task->stream + (static_cast<uint32_t>(named.level) << 16) +
         (split == Split::held_out ? 1 : 0);
}

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Task& task : kTasks) {
      if (task.make != nullptr) out.emplace_back(task.name);
    }
    return out;
  }();
  return names;
}

bool has_levels(std::string_view name) {
  return find_task(name).task->levels;
}

std::string_view verifier_name(std::string_view name) {
  return find_task(name).task->verifier;
}

void check_task(std::string_view name, Split split) {
  check_split(*find_task(name).task, split);
}

Problem make_problem(std::string_view name, uint64_t seed, uint64_t index, Split split) {
  const Named named = find_task(name);
  check_split(*named.task, split);
  Random random(seed, index, substream_of(named, split));
  int level = named.level;
  if (level == 0 && named.task->levels) level = static_cast<int>(random.between(1, kLevels));
  Problem problem = named.task->make(random, level, split);
  problem.task = name;
  return problem;
}

Problem countdown_task(const CountdownProblem& problem, int phrasing) {
  return {.task = "countdown",
          .question = ask(problem, phrasing),
          .gold = Json::object()
                      .set("numbers", Json::array_of(problem.numbers))
                      .set("target", Json(static_cast<long long>(problem.target)))
                      .dump(),
          .key = countdown_content(problem.numbers)};
}

CountdownProblem countdown_of(const Problem& problem) {
  return countdown_of(parse_json(problem.gold, "gold of a countdown problem"));
}

CountdownProblem countdown_of(const Json& gold) {
  const Json* numbers = gold.find("numbers");
  if (numbers == nullptr) numbers = gold.find("nums");
  if (numbers == nullptr) gold.fail("needs numbers and target");
  if (numbers->size() < 2 || numbers->size() > kMaxCountdownNumbers) {
    numbers->fail(
        fmt::format("has {} numbers; it must have between 2 and {}", numbers->size(), kMaxCountdownNumbers));
  }
  CountdownProblem out{.numbers = {}, .target = gold.get_int("target")};
  for (const Json& number : numbers->items()) {
    const int64_t value = number.integer();
    if (value < 0 || value > 9999) number.fail(fmt::format("is {}; it must be between 0 and 9999", value));
    out.numbers.push_back(static_cast<int>(value));
  }
  return out;
}

}  // namespace r1
