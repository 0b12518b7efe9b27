// reward/verifier.h: the verifier of any task.
#pragma once

#include <string_view>

#include "data/task.h"
#include "reward/verdict.h"

namespace r1 {

// Dispatches on problem.task. Throws Error for a task without a verifier and for a gold that is not of the
// task's shape; the response never throws.
Verdict verify(const Problem& problem, std::string_view response);

}  // namespace r1
