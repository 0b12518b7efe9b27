// train/run_directory.h: a run's files on disk, and how it resumes after a crash.
//
//   OUT/run.json                  kind (pretrain, sft, grpo, ppo, distill), numerics, settings and inputs
//                                 (train/run_settings.h), finished: the step of OUT/model
//   OUT/config.toml               a copy of the configuration
//   OUT/metrics.jsonl             a row per step
//   OUT/samples.jsonl             rollouts (reinforcement learning)
//   OUT/evals.jsonl               samples of [[eval]] (recipe/training_evals.h)
//   OUT/best/                     the best model so far ([checkpoint] best)
//   OUT/events.out.tfevents.*     the numbers of metrics.jsonl for TensorBoard ([log] tensorboard = true)
//   OUT/checkpoints/step-000120/  a Hugging Face directory, with optimizer.safetensors and trainer.json
//                                 beside the weights; reference/ and critic/, if the stage has them
//   OUT/model/                    the finished model
//
// A checkpoint is written under a temporary name and renamed. A run killed at any instant resumes from the
// last whole checkpoint, drops the later metrics rows and repeats the steps since, to the same bits. The
// state after the last step is kept as a checkpoint too, so that a finished run can continue to more steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/config_file.h"
#include "formats/jsonl.h"
#include "formats/tfevents.h"
#include "tensor/memory.h"
#include "tensor/numerics.h"
#include "train/run_settings.h"

namespace r1 {

// The run settings that every training stage's configuration has.
struct RunConfig {
  std::string kind;  // pretrain, sft, grpo, ppo or distill: the command that makes such a run
  std::string name;
  uint64_t seed = 0;
  std::filesystem::path out;
  Numerics numerics = Numerics::cpu_f32;
  Device device = Device::cpu;   // which changes no bit
  Json inputs = Json::object();  // see RunSettings; the stage puts them there
};
// Reads name, seed, out (default runs/NAME), numerics and device; the caller gives the kind. Throws Error.
RunConfig read_run_config(ConfigFile& config, std::string_view kind);

// Reads a name that is also used as a folder's name. Throws Error if it cannot be one.
std::string read_name(ConfigFile& config, const std::string& key);
// Reads out (default runs/NAME), which is relative to the working directory. Throws Error.
std::filesystem::path read_out(ConfigFile& config, const std::string& name);

// Reads the numerics named by `key`; the default is cpu-f32. Throws Error.
Numerics read_numerics(ConfigFile& config, const std::string& key);
// Likewise for a model that only samples: also the numerics without gradients, such as cpu-q8act.
Numerics read_sampling_numerics(ConfigFile& config, const std::string& key, Numerics preset);
// Reads device, which must have a row of these numerics and be there; the default is the CPU. Throws Error.
Device read_device(ConfigFile& config, Numerics numerics);

struct CheckpointConfig {
  std::optional<int64_t> every = {};  // steps; 0: never; not set: by time (train/step_loop.h)
  int64_t keep = 2;
  bool tensorboard = false;  // [log]
};
CheckpointConfig read_checkpoint_config(ConfigFile& config);

// trainer.json: the progress of a run.
struct TrainerState {
  int64_t step = 0;  // finished steps
  int64_t tokens = 0;
  double wall_s = 0;
  int64_t next_document = 0;   // pre-training: the first document that no step has used
  int64_t next_problem = 0;    // reinforcement learning: likewise
  int64_t sampled_tokens = 0;  // tokens run through the sampler
  int64_t updates = 0;         // of the optimizer: a step without anything to learn makes none
  int64_t metrics_rows = 0;
  int64_t samples_rows = 0;
};

class RunDirectory {
 public:
  // Creates run.out or, with `resume`, continues the run in it. All keys of `config` must have been read.
  // Throws Error if the folder cannot be written, is not one for a run (train/out_folder.h), holds a run
  // although `resume` is false, or holds a run that was begun with other settings (train/run_settings.h).
  RunDirectory(const RunConfig& run, ConfigFile& config, bool resume);

  // Throws Error if `out` holds a run and `resume` is false. Called before anything is loaded. A run that has
  // done nothing yet, for example because its teacher solved no problem, is no obstacle: it is begun anew.
  static void check_free(const std::filesystem::path& out, bool resume);
  // Reports whether `out` holds a finished run of `steps` steps, or of any number.
  static bool finished(const std::filesystem::path& out, std::optional<int64_t> steps = std::nullopt);

  // Reports whether `out` holds a run that has taken a step.
  static bool has_trained(const std::filesystem::path& out);

  // Reports whether there is anything to do up to step `steps`: false if the model of that step exists. A run
  // that was finished at an earlier step continues; its model stays until the new one is written. Throws
  // Error if it cannot continue.
  bool begin(int64_t steps);
  // Lines for the user about settings that have changed since the run was begun.
  const std::vector<std::string>& notes() const { return notes_; }
  std::filesystem::path model_path() const { return out_ / "model"; }
  const std::filesystem::path& path() const { return out_; }

  // The newest whole checkpoint, if there is one.
  std::optional<std::filesystem::path> latest() const;
  // Reads its trainer.json and drops the rows of metrics.jsonl and samples.jsonl that came after it.
  TrainerState resume_from(const std::filesystem::path& checkpoint);
  // Begins without a checkpoint: drops the rows of an earlier attempt.
  void start_afresh();

  void write_metrics(const Json& row);
  void write_sample(const Json& row);
  // Writes a checkpoint; fill(directory) writes the model and optimizer. Checkpoints beyond the newest `keep`
  // are removed once the new one is complete. The Error of a full disk says which checkpoint is intact and
  // how to resume.
  void checkpoint(TrainerState state, int64_t keep,
                  const std::function<void(const std::filesystem::path&)>& fill);
  // Writes the model of step `steps`.
  void finish(int64_t steps, const std::function<void(const std::filesystem::path&)>& fill);
  // Puts a field in run.json.
  void note(std::string_view key, const Json& value) const;

 private:
  std::filesystem::path checkpoint_path(int64_t step) const;
  std::vector<int64_t> checkpoint_steps() const;  // ascending

  void go_on(const RunConfig& run);
  static bool holds_work(const std::filesystem::path& out);

  std::filesystem::path out_;
  RunSettings settings_;
  int64_t finished_ = 0;  // the step of the model in the folder; 0: none
  std::vector<std::string> notes_;
  std::unique_ptr<JsonlWriter> metrics_, samples_;
  std::optional<TfEventsWriter> events_;
  int64_t metrics_rows_ = 0, samples_rows_ = 0;
};

}  // namespace r1
