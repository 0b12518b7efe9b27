// cli/plan_config.h: `r1 plan CONFIG.toml`: the memory of a step of a training.
#pragma once

#include "cli/commands.h"

namespace r1 {

int run_plan_config(const PlanOptions& options);

}  // namespace r1
