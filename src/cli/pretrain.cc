// cli/pretrain.cc: `r1 pretrain`: one stage of next-token training.
#include "cli/common.h"
#include "cli/progress.h"
#include "recipe/stages.h"

namespace r1 {

int run_pretrain_command(const TrainCommandOptions& options) {
  check_training(options.common);
  ThreadPool threads(thread_count(options.common));
  TerminalReporter reporter = TerminalReporter::on_stderr();
  TrainOptions train;
  train.resume = options.resume;
  const std::filesystem::path model = run_pretrain_config(options.config, train, threads, reporter);
  show_model(options.common, model);
  return 0;
}

}  // namespace r1
