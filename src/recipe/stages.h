// recipe/stages.h: one stage from its configuration file: what `r1 pretrain`, `r1 sft`, `r1 grpo` and `r1
// distill` run, and a recipe in turn.
//
//   sft      model, [data] files (recipe/sft_data.h), then pre-training's [optimizer], [batch], [checkpoint]
//   distill  teacher, student, keep (recipe/teacher.h), then sft's without files. Rejection sampling is a
//            distillation into the base
//
// Relative paths in a file count from that file's folder, but for `out`, which counts from the working
// directory. A stage checks its whole configuration, its models, its data and its memory before it makes or
// changes anything in `out`; a distillation's data is made by its teacher, so there the student's memory is
// checked for the longest rows that the file allows.
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

// What a recipe or the command line puts in place of the file's own. Paths are absolute, or count from the
// working directory.
struct StageOverrides {
  std::optional<uint64_t> seed;
  std::string out;      // "": the file's
  std::string model;    // "": the file's; a distillation's student
  std::string teacher;  // "": the file's
};

// Each returns the directory of the finished model. Throws Error; Stopped.
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

// Reads a stage's file as the functions above do, and looks for the models and files that it names, but for
// those that `overrides` gives: these may not be there yet. Throws Error.
void check_stage_config(std::string_view kind, const std::filesystem::path& config,
                        const StageOverrides& overrides);

// Asks `file` for all that a stage of this kind reads, as the functions above do, and checks it; opens no
// other file.
void read_stage_keys(std::string_view kind, ConfigFile& file);

}  // namespace r1
