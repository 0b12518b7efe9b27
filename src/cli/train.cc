// cli/train.cc: `r1 pretrain`, `r1 sft`, `r1 grpo`, `r1 ppo`, `r1 distill`: one training stage.
#include <errno.h>  // program_invocation_name

#include "base/text_util.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "recipe/stages.h"

namespace r1 {

int run_train_command(const TrainCommandOptions& options) {
  check_training(options.common);
  const StopSignals signals;
  ThreadPool threads(thread_count(options.common));
  TrainOptions train;
  train.resume = options.resume;
  train.force = options.force;
  train.memory_limit = memory_limit(options.common);
  train.stop = StopSignals::asked;
  const StageOverrides overrides{.seed = {},
                                 .out = options.out,
                                 .model = "",
                                 .teacher = "",
                                 .device = options.common.device,
                                 .set = options.set};
  std::string stopped;
  try {
    TerminalReporter reporter = TerminalReporter::on_stderr();
    const StageRunner run = stage_runner(options.kind);
    show_model(options.common, run(options.config, train, threads, reporter, overrides));
    return 0;
  } catch (const Stopped& e) {
    stopped = e.what();
  }
  std::string command =
      shell_word(::program_invocation_name) + " " + options.kind + " " + shell_word(options.config);
  if (!options.out.empty()) command += " --out " + shell_word(options.out);
  if (!options.common.device.empty()) command += " --device " + shell_word(options.common.device);
  for (const std::string& assignment : options.set) command += " --set " + shell_word(assignment);
  if (options.force) command += " --force";
  return report_stop(stopped, command + " --resume");
}

}  // namespace r1
