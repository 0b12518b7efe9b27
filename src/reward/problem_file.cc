#include "reward/problem_file.h"

#include "reward/verifier.h"

namespace r1 {

void check_gold(const Problem& problem, const Json& gold) {
  (void)Verifier(problem.task, gold);
}

ProblemFile read_problems(const std::filesystem::path& path, const RecordMapping& mapping, GoldIs gold) {
  const ProblemCheck check = gold == GoldIs::required ? ProblemCheck(check_gold) : ProblemCheck();
  return read_some_problems(path, {.mapping = mapping, .task = "math", .check = check, .gold = gold});
}

}  // namespace r1
