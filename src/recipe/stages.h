// recipe/stages.h: one stage from its configuration file: what `r1 pretrain`, `r1 sft`, `r1 grpo` and `r1
// distill` run, and a recipe in turn.
//
//   sft      model = "DIR", [data] files (recipe/sft_data.h), then pre-training's [optimizer], [batch],
//   [checkpoint] distill  teacher = "DIR", student = "DIR", keep (recipe/teacher.h), then sft's without
//   files. Rejection sampling is a
//            distillation into the base
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/threads.h"
#include "formats/config_file.h"
#include "train/pretrain.h"
#include "train/reporter.h"

namespace r1 {

// What a recipe or the command line puts in place of the file's own.
struct StageOverrides {
  std::optional<uint64_t> seed;
  std::string out;      // "": the file's
  std::string model;    // "": the file's; a distillation's student
  std::string teacher;  // "": the file's
};

// Fails at `key` where `model` is no directory of a model.
void check_model_is_there(const ConfigFile& file, std::string_view key, const std::string& model);

// Each returns the directory of the finished model. Throws Error.
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

// Asks `file` for all that a stage of this kind reads, as the functions above do, and checks it; opens no
// other file.
void read_stage_keys(std::string_view kind, ConfigFile& file);

}  // namespace r1
