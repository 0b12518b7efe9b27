// cli/plan_train.h: `r1 plan MODEL --train`: what a published training cost, computed from its numbers.
#pragma once

#include "cli/commands.h"

namespace r1 {

int run_plan_train(const PlanOptions& options);

}  // namespace r1
