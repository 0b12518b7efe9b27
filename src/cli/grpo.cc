// cli/grpo.cc: `r1 grpo`: one stage of reinforcement learning.
#include "cli/common.h"
#include "cli/progress.h"
#include "recipe/stages.h"

namespace r1 {

int run_grpo_command(const TrainCommandOptions& options) {
  check_training(options.common);
  ThreadPool threads(thread_count(options.common));
  TerminalReporter reporter = TerminalReporter::on_stderr();
  TrainOptions train;
  train.resume = options.resume;
  const std::filesystem::path model = run_grpo_config(options.config, train, threads, reporter);
  show_model(options.common, model);
  return 0;
}

}  // namespace r1
