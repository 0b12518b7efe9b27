// cli/bench_train.h: `r1 bench --train`: how fast a model trains, and which kernels take the time.
#pragma once

#include "cli/commands.h"

namespace r1 {

int run_bench_train(const BenchOptions& options);

}  // namespace r1
