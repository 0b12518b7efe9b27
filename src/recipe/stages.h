// recipe/stages.h: runs one stage from its configuration file, for `r1 pretrain`, `r1 sft`, `r1 grpo`, `r1 ppo` and
// `r1 distill`, and for each stage of a recipe.
//
//   sft      model, [data] files (recipe/sft_data.h), then pre-training's [optimizer], [batch], [checkpoint]
//   distill  teacher, student, keep (recipe/teacher.h), then the settings of sft without files. Rejection
//            sampling is a distillation into the base.
//
// Relative paths in a file are relative to that file's folder, except `out`, which is relative to the working
// directory. A stage checks its whole configuration, its models, its data and its memory before it makes or
// changes anything in `out`. The data of a distillation is made by its teacher, so the student's memory is
// checked for the longest rows that the file allows.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "formats/config_file.h"
#include "train/grpo.h"
#include "train/preflight.h"
#include "train/pretrain.h"
#include "train/reporter.h"

namespace r1 {

// Settings by which a recipe or the command line replaces the file's own. Paths are absolute or relative to
// the working directory.
struct StageOverrides {
  std::optional<uint64_t> seed = {};
  std::string out = {};               // "": the file's
  std::string model = {};             // "": the file's; a distillation's student
  std::string teacher = {};           // "": the file's
  std::string device = {};            // "": the file's
  std::vector<std::string> set = {};  // KEY=VALUE (ConfigFile::set); the members above take precedence
};

// Each function returns the directory of the finished model. Throws Error or Stopped.
std::filesystem::path run_pretrain_config(const std::filesystem::path& config, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides = {});
std::filesystem::path run_sft_config(const std::filesystem::path& config, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides = {});
std::filesystem::path run_distill_config(const std::filesystem::path& config, const TrainOptions& options,
                                         ThreadPool& threads, Reporter& reporter,
                                         const StageOverrides& overrides = {});
std::filesystem::path run_grpo_config(const std::filesystem::path& config, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides = {});

std::filesystem::path run_ppo_config(const std::filesystem::path& config, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides = {});

// The function above that runs a stage of this kind: pretrain, sft, grpo, ppo or distill.
using StageRunner = std::filesystem::path (*)(const std::filesystem::path& config,
                                              const TrainOptions& options, ThreadPool& threads,
                                              Reporter& reporter, const StageOverrides& overrides);
StageRunner stage_runner(std::string_view kind);

// Runs the preflight (train/preflight.h) of a GRPO stage, or of a PPO stage, whose file has a [critic]. Returns its
// figures and findings. Writes nothing. Throws Error or Stopped.
struct PreflightOfConfig {
  Preflight preflight;
  std::vector<PreflightFinding> found;
};
PreflightOfConfig preflight_grpo_config(const std::filesystem::path& config, const PreflightLimits& limits,
                                        const TrainOptions& options, ThreadPool& threads, Reporter& reporter,
                                        const StageOverrides& overrides = {});

// Reads a stage's file as the functions above do, and checks that the models and files that it names exist,
// except those that `overrides` gives, which may not have been made yet. Throws Error.
void check_stage_config(std::string_view kind, const std::filesystem::path& config,
                        const StageOverrides& overrides);

// Returns the settings of a grpo stage, or of a ppo stage, whose file has a [critic]. Every key of the file is checked
// as run_grpo_config checks it. Opens no other file.
GrpoConfig read_grpo_settings(ConfigFile& file);

// Reads and checks every key of a stage of this kind, as the functions above do. Opens no other file.
void read_stage_keys(std::string_view kind, ConfigFile& file);

}  // namespace r1
