// train/optimizer.h: AdamW over a model's trainable parameters, with its schedule and its state on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/config_file.h"
#include "model/model.h"
#include "ops/optim/optim.h"

namespace r1 {

enum class LrSchedule : uint8_t { constant, cosine, linear };

// [optimizer] of a configuration file, or the same settings of a critic in [critic].
struct OptimizerConfig {
  std::string section = "optimizer";  // the file's section
  double lr = 1e-3;
  bool lr_by_size = false;  // the file gives no lr: it follows from the model's size (train/default_lr.h)
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.0;  // on matrices; norms and biases are not decayed
  double clip = 1.0;          // global gradient norm; 0: off
  LrSchedule schedule = LrSchedule::constant;
  int64_t warmup = 0;     // steps from 0 to lr
  int64_t steps = 0;      // of the whole run
  double final_lr = 0.1;  // share of lr at the last step (cosine, linear)
};
// Defaults for what the file does not set. Without lr, the rate is chosen when the model is known.
struct OptimizerDefaults {
  std::optional<double> lr = 1e-3;
  int64_t warmup = 0;
  std::string_view section = "optimizer";  // a literal
  std::optional<int64_t> steps = {};       // the run's steps, if another section gives them
};
OptimizerConfig read_optimizer_config(ConfigFile& config, const OptimizerDefaults& defaults = {});

// Converts steps and warmup from steps, as in the file, to updates: a step may make several.
OptimizerConfig by_updates(OptimizerConfig config, int64_t updates);

// Returns the learning rate of update `step`, which is between 1 and steps.
double lr_at(const OptimizerConfig& config, int64_t step);

class Optimizer {
 public:
  // The model keeps its address-stable parameters; gradients are allocated here.
  Optimizer(Model& model, const OptimizerConfig& config);

  struct Result {
    double lr = 0;
    double grad_norm = 0;  // before clipping
  };
  // Makes one update from the current gradients, then zeroes them. Throws Error if the norm is not finite;
  // nothing is changed then.
  Result update(Context& ctx);
  int64_t steps_done() const { return steps_done_; }

  // optimizer.safetensors: "m.NAME" and "v.NAME". The caller keeps the step.
  void save(const std::filesystem::path& directory) const;
  void load(const std::filesystem::path& directory, int64_t steps_done);

 private:
  Model& model_;
  OptimizerConfig config_;
  std::vector<Parameter*> parameters_;
  std::vector<Buffer> m_, v_;
  int64_t steps_done_ = 0;
};

}  // namespace r1
