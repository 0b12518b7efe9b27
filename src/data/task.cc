#include "data/task.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text_util.h"
#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "formats/json.h"

namespace r1 {
namespace {

// Random's substream: one a task and split, so that no two lists share draws. Never renumber: recorded runs
// name problems by (seed, index).
uint32_t substream_of(size_t task, Split split) {
  constexpr uint32_t kTasks = 0x7461736B;  // "task"
  return kTasks + static_cast<uint32_t>(2 * task) + (split == Split::held_out ? 1 : 0);
}

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names{"countdown", "countdown3", "countdown4"};
  return names;
}

void check_task(std::string_view name) {
  const auto& names = task_names();
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string near = nearest_name(name, names);
  if (!near.empty()) throw Error(fmt::format("unknown task {} (did you mean {}?)", name, near));
  throw Error(fmt::format("unknown task {} (known: {})", name, fmt::join(names, ", ")));
}

Problem make_problem(std::string_view name, uint64_t seed, uint64_t index, Split split) {
  check_task(name);
  const auto& names = task_names();
  const auto task = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  Random random(seed, index, substream_of(task, split));
  CountdownOptions options{.split = split};
  if (name == "countdown3") options.four_numbers = 0;
  if (name == "countdown4") options.four_numbers = 1;
  const CountdownProblem drawn = make_problem(random, options);
  Problem problem = countdown_task(drawn, static_cast<int>(random.below(kPhrasings)));
  problem.task = name;
  return problem;
}

Problem countdown_task(const CountdownProblem& problem, int phrasing) {
  Problem out{.task = "countdown",
              .question = ask(problem, phrasing),
              .gold = Json::object()
                          .set("numbers", Json::array_of(problem.numbers))
                          .set("target", Json(static_cast<long long>(problem.target)))
                          .dump(),
              .key = problem.numbers};
  std::sort(out.key.begin(), out.key.end());
  return out;
}

CountdownProblem countdown_of(const Problem& problem) {
  return countdown_of(parse_json(problem.gold, "gold of a countdown problem"));
}

CountdownProblem countdown_of(const Json& gold) {
  const Json* numbers = gold.find("numbers");
  if (numbers == nullptr) numbers = &gold.at("nums");
  if (numbers->size() < 2 || numbers->size() > kMaxCountdownNumbers) {
    numbers->fail(fmt::format("has {} numbers, 2 to {} are wanted", numbers->size(), kMaxCountdownNumbers));
  }
  CountdownProblem out{.numbers = {}, .target = gold.get_int("target")};
  for (const Json& number : numbers->items()) {
    const int64_t value = number.integer();
    if (value < 0 || value > 9999) number.fail(fmt::format("is {}, 0 to 9999 is wanted", value));
    out.numbers.push_back(static_cast<int>(value));
  }
  return out;
}

}  // namespace r1
