// recipe/stages.h: one stage from its configuration file: what `r1 pretrain` and `r1 grpo` run, and a recipe
// in turn.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/threads.h"
#include "train/pretrain.h"
#include "train/reporter.h"

namespace r1 {

// What a recipe or the command line puts in place of the file's own.
struct StageOverrides {
  std::optional<uint64_t> seed;
  std::string out;    // "": the file's
  std::string model;  // "": the file's
};

// Each returns the directory of the finished model. Throws Error.
std::filesystem::path run_pretrain_config(const std::filesystem::path& config, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides = {});
std::filesystem::path run_grpo_config(const std::filesystem::path& config, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides = {});

}  // namespace r1
