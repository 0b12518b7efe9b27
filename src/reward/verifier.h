// reward/verifier.h: the verifier of any problem, its gold read once, and judging many answers.
//
// Verifiers, by the names that data/task.h's table gives them: countdown and expression (countdown.h), number
// and equation (number.h), digits (digits.h), calendar (calendar.h), roles (roles.h), math
// (math/math_verifier.h), text (text_verifier.h), regex (pattern_verifier.h), json (json_verifier.h). The
// last four find the answer in free text; the others want it as response.h says. The format is right as
// response.h says, whatever the verifier.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "data/task.h"
#include "reward/verdict.h"

namespace r1 {

class Verifier {
 public:
  // Throws Error for an unknown task and for a gold that is not of the task's shape.
  explicit Verifier(const Problem& problem);
  Verifier(std::string_view task, const Json& gold);

  // Total: any bytes give a verdict. Safe from any thread.
  Verdict verify(std::string_view response) const;

 private:
  std::function<Verdict(std::string_view response)> verify_;
};

// One verdict, as a Verifier made for it gives it.
Verdict verify(const Problem& problem, std::string_view response);
Verdict verify(std::string_view task, const Json& gold, std::string_view response);

struct AnswerToJudge {
  const Verifier* verifier = nullptr;
  std::string_view response;
};

// Verdicts in the order of the answers, on all threads. A verifier that fails (out of memory, say) fails for
// its answer alone: why = "verifier_failed".
std::vector<Verdict> judge(ThreadPool& threads, std::span<const AnswerToJudge> answers);

}  // namespace r1
