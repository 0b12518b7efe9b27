// cli/train.cc: `r1 pretrain`, `r1 sft`, `r1 grpo`, `r1 distill`: one training stage.
#include "cli/common.h"
#include "cli/progress.h"
#include "recipe/stages.h"

namespace r1 {

int run_train_command(const TrainCommandOptions& options) {
  check_training(options.common);
  ThreadPool threads(thread_count(options.common));
  TerminalReporter reporter = TerminalReporter::on_stderr();
  TrainOptions train;
  train.resume = options.resume;
  train.memory_limit = memory_limit(options.common);
  const StageOverrides overrides{.seed = {}, .out = options.out, .model = "", .teacher = ""};
  const auto run = options.kind == "pretrain" ? run_pretrain_config
                   : options.kind == "sft"    ? run_sft_config
                   : options.kind == "grpo"   ? run_grpo_config
                                              : run_distill_config;
  show_model(options.common, run(options.config, train, threads, reporter, overrides));
  return 0;
}

}  // namespace r1
