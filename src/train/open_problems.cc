#include "train/open_problems.h"

#include "engine/ask.h"
#include "reward/problem_file.h"

namespace r1 {

ProblemSource open_problems(const ProblemData& data, uint64_t seed, const ModelBundle& bundle,
                            const PromptFormat& format) {
  return ProblemSource::open(data, seed, [&](const Problem& problem, const Json& gold) {
    if (data.gold == GoldIs::required) check_gold(problem, gold);
    check_room(bundle, problem, format);
  });
}

}  // namespace r1
