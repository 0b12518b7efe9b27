// cli/preflight.cc: `r1 preflight`: predicts how a GRPO run will go, without training anything. The exit
// status is 1 if the run would be refused.
#include "train/preflight.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "recipe/stages.h"

namespace r1 {

int run_preflight(const PreflightOptions& options) {
  check_training(options.common);
  PreflightLimits limits;
  if (options.groups) {
    constexpr int64_t kMostGroups = 1 << 16;
    check_between("--groups", *options.groups, 1, kMostGroups);
    limits.groups = *options.groups;
  }
  if (options.seconds) {
    constexpr double kDay = 86400;
    if (!(*options.seconds > 0 && *options.seconds <= kDay))
      throw Error(fmt::format("--seconds is {}; it must be above 0 and at most {}", *options.seconds, kDay));
    limits.seconds = *options.seconds;
  }
  const StopSignals signals;
  ThreadPool threads(thread_count(options.common));
  TrainOptions train;
  train.memory_limit = memory_limit(options.common);
  train.stop = StopSignals::asked;
  TerminalReporter reporter = TerminalReporter::on_stderr();
  PreflightOfConfig result;
  try {
    result = preflight_grpo_config(options.config, limits, train, threads, reporter,
                                   {.device = options.common.device, .set = options.set});
  } catch (const Stopped& e) {
    throw Error(e.what());
  }
  if (options.common.json) {
    write_stdout(to_json(result.preflight, result.found).dump() + "\n");
  } else {
    std::string text;
    for (const std::string& line : preflight_table(result.preflight, result.found)) text += line + "\n";
    write_stdout(text);
  }
  return std::ranges::any_of(result.found, &PreflightFinding::refuses) ? 1 : 0;
}

}  // namespace r1
