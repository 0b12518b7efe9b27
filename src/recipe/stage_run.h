// recipe/stage_run.h: the parts that all training stages share: opening the configuration file, finding what it
// names, and training in the run's folder.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_bundle.h"
#include "engine/prompt_format.h"
#include "formats/config_file.h"
#include "recipe/stages.h"
#include "recipe/training_evals.h"
#include "train/memory.h"
#include "train/run_directory.h"

namespace r1 {

// Reads the file and applies the overrides. overrides.model replaces the value of `model_key`.
ConfigFile open_stage_file(const std::filesystem::path& path, const StageOverrides& overrides,
                           std::string_view model_key = "model");

// Read and check every key of a stage of these kinds: sft or distill, and grpo or ppo. The caller calls
// file.finish(). No other file is opened.
void read_pretrain_keys(ConfigFile& file);
void read_fine_tune_keys(std::string_view kind, ConfigFile& file);
void read_rl_keys(std::string_view kind, ConfigFile& file);

// Throws Error unless all these files of data.files exist.
void check_files(const ConfigFile& file, const std::vector<std::string>& names);

// Throws Error if a setting such as data.max_tokens is more than `most`, which follows from the model's
// context.
void check_context(const ConfigFile& file, std::string_view key, int64_t tokens, int64_t most,
                   const ModelConfig& model);

// Loads the template's file and adds it to the run's inputs.
void open_prompt_format(PromptFormat& format, RunConfig& run);

void note_warnings(const Model& model, Reporter& reporter);
void note_unless_empty(Reporter& reporter, const std::string& line);

// A stage whose settings, model and data are known. The members outlive run_stage.
struct ReadyStage {
  ConfigFile& file;
  const RunConfig& run;
  const ModelBundle& bundle;  // the model in training
  const TrainingEvalConfig& evals;
  const MemoryEstimate& memory;  // of a step
  std::string_view lower;        // names the settings that lower it
  int64_t micro_tokens = 0, steps = 0;
  std::vector<Document> validation = {};
  std::function<void()> last_check = {};
  std::function<void(RunDirectory&, const TrainOptions&)> train;
};

// Checks the memory, opens the evaluations and the run's folder, and trains. `run` is set for a distillation,
// which opens it before its teacher is asked. Returns the directory of the finished model.
std::filesystem::path run_stage(ReadyStage stage, std::optional<RunDirectory>& run,
                                const TrainOptions& options, ThreadPool& threads, Reporter& reporter);

}  // namespace r1
