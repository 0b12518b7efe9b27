// train/run_directory.h: what a run leaves on disk, and how it goes on after a crash.
//
//   OUT/run.json                  kind (pretrain, sft, grpo, distill), config, config_sha256, numerics
//   OUT/config.toml               a copy of the configuration
//   OUT/metrics.jsonl             a row a step
//   OUT/samples.jsonl             rollouts (reinforcement learning)
//   OUT/events.out.tfevents.*     the numbers of metrics.jsonl for TensorBoard ([log] tensorboard = true)
//   OUT/checkpoints/step-000120/  a Hugging Face directory, with optimizer.safetensors and trainer.json
//   beside the weights OUT/model/                    the finished model; its presence means that the run is
//   done
//
// A checkpoint is written to a temporary name and renamed: a run killed at any instant finds the last whole
// one, drops the metrics rows behind it and repeats the steps since, to the same bits.
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

namespace r1 {

// What every training stage's configuration says of its run.
struct RunConfig {
  std::string kind;  // pretrain, sft, grpo or distill: the command that makes such a run
  std::string name;
  uint64_t seed = 0;
  std::filesystem::path out;
  Numerics numerics = Numerics::cpu_f32;
};
// name, seed, out (default runs/NAME) and numerics; the kind is the caller's to say. Throws Error.
RunConfig read_run_config(ConfigFile& config, std::string_view kind);

// The numerics that `key` names; none: cpu-f32. Throws Error.
Numerics read_numerics(ConfigFile& config, const std::string& key);

struct CheckpointConfig {
  int64_t every = 0;  // steps; 0: only at the end
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
  int64_t metrics_rows = 0;
  int64_t samples_rows = 0;
};

class RunDirectory {
 public:
  // Creates run.out or, with `resume`, reopens it. Throws Error: unwritable; holds a run and `resume` is
  // false; that run is of another configuration or numerics.
  RunDirectory(const RunConfig& run, ConfigFile& config, bool resume);

  // The first of those checks alone: before anything is written to `out`.
  static void check_free(const std::filesystem::path& out, bool resume);

  bool finished() const { return finished(out_); }
  static bool finished(const std::filesystem::path& out);
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
  void finish(const std::function<void(const std::filesystem::path&)>& fill);
  // Puts a field in run.json.
  void note(std::string_view key, const Json& value) const;

 private:
  std::filesystem::path checkpoint_path(int64_t step) const;
  std::vector<int64_t> checkpoint_steps() const;  // ascending

  std::filesystem::path out_;
  std::string fingerprint_;
  std::unique_ptr<JsonlWriter> metrics_, samples_;
  std::optional<TfEventsWriter> events_;
  int64_t metrics_rows_ = 0, samples_rows_ = 0;
};

}  // namespace r1
