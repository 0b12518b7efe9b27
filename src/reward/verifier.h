// reward/verifier.h: calls the verifier of any task.
//
// Verifiers, by the names that data/task.h's table gives them: countdown (countdown.h), expression
// (expression.h), number and equation (number.h), digits (digits.h), calendar (calendar.h), roles (roles.h).
#pragma once

#include <string_view>

#include "data/task.h"
#include "reward/verdict.h"

namespace r1 {

// Throws Error for an unknown task and for a gold that does not have the task's shape. No response makes it
// throw.
Verdict verify(const Problem& problem, std::string_view response);

// The same with the gold as JSON.
Verdict verify(std::string_view task, const Json& gold, std::string_view response);

}  // namespace r1
