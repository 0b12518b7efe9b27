// cli/plan_config.h: `r1 plan CONFIG.toml`: the memory of a step of a training.
#pragma once

#include <cstdint>

#include "cli/commands.h"

namespace r1 {

int run_plan_config(const PlanOptions& options);

// Bytes that a run may take now: --memory-limit, or what is free here and in the control group.
int64_t usable_memory(const CommonOptions& common);

}  // namespace r1
