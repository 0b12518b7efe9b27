#include "cli/plan_config.h"

#include <fmt/format.h>

#include "base/byte_text.h"
#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/json.h"
#include "recipe/preview.h"
#include "recipe/stages.h"
#include "train/memory.h"

namespace r1 {
namespace {

Json step_json(const MemoryEstimate& step) {
  return Json::object()
      .set("weights", step.weights)
      .set("gradients", step.gradients)
      .set("optimizer", step.optimizer)
      .set("packed", step.packed)
      .set("critic", step.critic.total())
      .set("activations", step.activations)
      .set("kv", step.kv)
      .set("program", step.program);
}

}  // namespace

int run_plan_config(const PlanOptions& options) {
  const std::string& config = options.model;
  const std::string kind = kind_of_config(config, {});
  if (kind == "distill")
    throw Error(
        fmt::format("{}: a distillation's memory is its teacher's and its student's, which follows from the "
                    "teacher's answers; plan the student's with an sft configuration",
                    config));
  Json json = Json::object().set("config", config).set("kind", kind);
  const int64_t usable = usable_memory(options.common);
  ThreadPool threads(thread_count(options.common));
  TerminalReporter reporter = TerminalReporter::on_stderr();
  TrainOptions train;
  train.resume = true;  // a run that is there already does not matter
  train.planned = [&](const MemoryEstimate& step, int64_t steps) {
    json.set("steps", steps).set("step_bytes", step_json(step)).set("total_bytes", step.total());
    json.set("memory_bytes", usable).set("fits", step.total() <= usable);
  };
  const StageOverrides overrides{.device = options.common.device};
  stage_runner(kind)(config, train, threads, reporter, overrides);
  R1_CHECK(json.contains("fits"), kind, " did not plan");
  if (options.common.json) {
    write_stdout(json.dump() + "\n");
    return 0;
  }
  std::string text = fmt::format("{}: {}, {} steps\nmemory of a step\n", config, kind, json.get_int("steps"));
  for (const auto& [part, bytes] : json.at("step_bytes").members())
    text += fmt::format("  {:<12} {:>9}\n", part, byte_text(bytes.integer()));
  text += fmt::format("  {:<12} {:>9}, of {} that may be used: {}\n", "in all",
                      byte_text(json.get_int("total_bytes")), byte_text(usable),
                      json.get_bool("fits") ? "it fits" : "it does not fit");
  write_stdout(text);
  return 0;
}

}  // namespace r1
