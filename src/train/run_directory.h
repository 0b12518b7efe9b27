// train/run_directory.h: what a run leaves on disk, and how it goes on after a crash.
//
//   OUT/run.json                  kind (pretrain, sft, grpo, distill), numerics, settings and inputs
//                                 (train/run_settings.h), finished: the step of OUT/model
//   OUT/config.toml               a copy of the configuration
//   OUT/metrics.jsonl             a row per step
//   OUT/samples.jsonl             rollouts (reinforcement learning)
//   OUT/events.out.tfevents.*     the numbers of metrics.jsonl for TensorBoard ([log] tensorboard = true)
//   OUT/checkpoints/step-000120/  a Hugging Face directory, with optimizer.safetensors and trainer.json
//                                 beside the weights
//   OUT/model/                    the finished model
//
// A checkpoint is written to a temporary name and renamed: a run killed at any instant finds the last whole
// one, drops the metrics rows behind it and repeats the steps since, to the same bits. The state after the
// last step is kept as a checkpoint too, so that a finished run can go on to more steps.
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
#include "tensor/dtype.h"
#include "train/run_settings.h"

namespace r1 {

// What every training stage's configuration says of its run.
struct RunConfig {
  std::string kind;  // pretrain, sft, grpo or distill: the command that makes such a run
  std::string name;
  uint64_t seed = 0;
  std::filesystem::path out;
  Numerics numerics = Numerics::cpu_f32;
  Json inputs = Json::object();  // see RunSettings; the stage puts them there
};
// name, seed, out (default runs/NAME) and numerics; the kind is the caller's to say. Throws Error.
RunConfig read_run_config(ConfigFile& config, std::string_view kind);

// A name that becomes a folder's. Throws Error for one that cannot.
std::string read_name(ConfigFile& config, const std::string& key);
// out (default runs/NAME): counts from the working directory. Throws Error.
std::filesystem::path read_out(ConfigFile& config, const std::string& name);

// The numerics that `key` names; none: cpu-f32. Throws Error.
Numerics read_numerics(ConfigFile& config, const std::string& key);

struct CheckpointConfig {
  std::optional<int64_t> every = {};  // steps; 0: never; not set: by time (train/step_loop.h)
  int64_t keep = 2;
  bool tensorboard = false;  // [log]
};
CheckpointConfig read_checkpoint_config(ConfigFile& config);

// trainer.json: where a run stands.
struct TrainerState {
  int64_t step = 0;  // finished steps
  int64_t tokens = 0;
  double wall_s = 0;
  int64_t next_document = 0;   // pre-training: the first that no step has seen
  int64_t next_problem = 0;    // reinforcement learning: likewise
  int64_t sampled_tokens = 0;  // run through the sampler
  int64_t updates = 0;         // of the optimizer: a step without anything to learn makes none
  int64_t metrics_rows = 0;
  int64_t samples_rows = 0;
};

class RunDirectory {
 public:
  // Creates run.out or, with `resume`, goes on with the run in it. The file's keys have all been read. Throws
  // Error: unwritable; not a folder for a run (train/out_folder.h); holds a run and `resume` is false; that
  // run was begun with other settings (train/run_settings.h).
  RunDirectory(const RunConfig& run, ConfigFile& config, bool resume);

  // Only the check for a run without `resume`: before anything is loaded. A run that has done nothing yet,
  // say because its teacher solved no problem, is begun anew without being asked.
  static void check_free(const std::filesystem::path& out, bool resume);
  // Whether `out` holds the finished run of so many steps, or of any number.
  static bool finished(const std::filesystem::path& out, std::optional<int64_t> steps = std::nullopt);

  // Whether there is anything to do up to step `steps`: false if the model of so many steps is there. A run
  // that was finished at fewer goes on; its model stays until the new one is there. Throws Error if it cannot
  // go on.
  bool begin(int64_t steps);
  // What a person should know of how it goes on: changed settings.
  const std::vector<std::string>& notes() const { return notes_; }
  std::filesystem::path model_path() const { return out_ / "model"; }
  const std::filesystem::path& path() const { return out_; }

  // The newest whole checkpoint, if there is one.
  std::optional<std::filesystem::path> latest() const;
  // Reads its trainer.json and drops the rows of metrics.jsonl and samples.jsonl that came after it.
  TrainerState resume_from(const std::filesystem::path& checkpoint);
  // No checkpoint: rows of an earlier attempt are dropped.
  void start_afresh();

  void write_metrics(const Json& row);
  void write_sample(const Json& row);
  // fill(directory) writes the model and optimizer. Older checkpoints beyond `keep` are removed after the new
  // one stands. The Error of a full disk says which checkpoint is intact and how to go on.
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
  static bool has_trained(const std::filesystem::path& out);

  std::filesystem::path out_;
  RunSettings settings_;
  int64_t finished_ = 0;  // the step of the model that is there; 0: none
  std::vector<std::string> notes_;
  std::unique_ptr<JsonlWriter> metrics_, samples_;
  std::optional<TfEventsWriter> events_;
  int64_t metrics_rows_ = 0, samples_rows_ = 0;
};

}  // namespace r1
