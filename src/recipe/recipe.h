// recipe/recipe.h: a pipeline of stages from one TOML file.
//
//   name, seed
//   out                 default runs/NAME, relative to the working directory
//   [[stage]]
//     name
//     kind              "pretrain" | "sft" | "grpo" | "ppo" | "distill" | "eval"
//     config            a file (all kinds but eval)
//     model             a model's folder, a shipped model's name, or "@STAGE": the model that an earlier
//                       stage made; for distill, the student
//     teacher           likewise (distill only)
//     optional          true: left out unless all stages are requested; no other stage may build on it then
//     task, problems, samples, temperature, max_tokens     eval only; task may be a file of problems
//
// Other relative paths are relative to the recipe's folder. A stage's folder is OUT/STAGE; a finished stage
// is reused when the recipe is resumed. OUT/recipe.json is the summary. A resumed recipe must have the same
// name, seed and kinds of stages. Stages may be added; evaluations may change, and are then made again; each
// training stage compares its own settings (train/run_settings.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/threads.h"
#include "formats/config_file.h"
#include "formats/json.h"
#include "train/reporter.h"

namespace r1 {

struct RecipeOptions {
  bool resume = false;
  bool all = false;                   // optional stages too
  std::optional<uint64_t> seed = {};  // in place of the recipe's
  std::string out = {};               // in place of the recipe's
  std::string device = {};            // in place of the stages'; an evaluation runs on the CPU without it
  int64_t memory_limit = 0;           // bytes; see TrainOptions
  std::function<bool()> stop = {};    // see TrainOptions
  // KEY=VALUE (ConfigFile::set) for the recipe's own file, or STAGE.KEY=VALUE for a stage's file.
  std::vector<std::string> set = {};
  bool force = false;  // see TrainOptions
};

class RecipeReporter : public Reporter {
 public:
  virtual void stage(const std::string& name, const std::string& kind, int64_t index, int64_t count) = 0;
  virtual void evaluated(const std::string& stage, const Json& result) = 0;
  virtual void progress(int64_t done, int64_t total) = 0;  // of an evaluation
};

struct RecipeResult {
  std::filesystem::path out;
  std::filesystem::path model;  // the last one made; empty if no stage makes one
  Json summary;                 // recipe.json
  // The model with the highest pass@1 among those evaluated on the task of the recipe's first evaluation, and
  // the stage that evaluated it; empty if there is none. recipe.json has them as "best" and "best_stage".
  std::string best, best_stage;
  int64_t left_out = 0;  // optional stages
};

// Runs the stages in order. Throws Error or Stopped.
RecipeResult run_recipe(const std::filesystem::path& config, const RecipeOptions& options,
                        ThreadPool& threads, RecipeReporter& reporter);

// Reads and checks every key of a recipe.
void read_recipe_keys(ConfigFile& file);

}  // namespace r1
