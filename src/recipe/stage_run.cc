#include "recipe/stage_run.h"

#include <fmt/format.h>

#include "recipe/inputs.h"
#include "train/out_folder.h"

namespace r1 {

ConfigFile open_stage_file(const std::filesystem::path& path, const StageOverrides& overrides,
                           std::string_view model_key) {
  ConfigFile file = ConfigFile::read(path);
  for (const std::string& assignment : overrides.set) file.set(assignment);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.device.empty()) file.override_with("device", Json(overrides.device));
  const auto absolute = [](const std::string& given) {
    return Json(std::filesystem::absolute(given).string());
  };
  if (!overrides.model.empty()) file.override_with(model_key, absolute(overrides.model));
  if (!overrides.teacher.empty()) file.override_with("teacher", absolute(overrides.teacher));
  return file;
}

void check_files(const ConfigFile& file, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::error_code none;
    if (!std::filesystem::exists(name, none))
      file.fail("data.files", fmt::format("names {}, which is not there", name));
  }
}

void check_context(const ConfigFile& file, std::string_view key, int64_t tokens, int64_t most,
                   const ModelConfig& model) {
  if (tokens > most)
    file.fail(key, fmt::format("is {}; the model's context is {}, so it must be at most {}", tokens,
                               model.max_positions, most));
}

void open_prompt_format(PromptFormat& format, RunConfig& run) {
  load_prompt_format(format);
  if (!format.file.empty()) run.inputs.set("prompt.template", content_of_files({format.file}));
}

void note_warnings(const Model& model, Reporter& reporter) {
  for (const std::string& line : model.warnings()) reporter.note(line);
}

void note_unless_empty(Reporter& reporter, const std::string& line) {
  if (!line.empty()) reporter.note(line);
}

std::filesystem::path run_stage(ReadyStage stage, std::optional<RunDirectory>& run,
                                const TrainOptions& options, ThreadPool& threads, Reporter& reporter) {
  if (options.planned) {
    options.planned(stage.memory, stage.steps);
    return {};
  }
  const bool finished = RunDirectory::finished(stage.run.out, stage.steps);
  if (!finished) check_memory(stage.memory, options.memory_limit, "a step", stage.lower, stage.run.device);
  TrainingEvals evals(stage.evals, stage.file, stage.run, stage.bundle, std::move(stage.validation),
                      stage.micro_tokens, stage.steps, threads, reporter);
  if (!finished) evals.check_memory_with(stage.memory, options.memory_limit);
  if (stage.last_check) stage.last_check();
  if (!run) run.emplace(stage.run, stage.file, options.resume);
  TrainOptions measured = options;
  measured.measures = evals.measures();
  stage.train(*run, measured);
  return run->model_path();
}

}  // namespace r1
