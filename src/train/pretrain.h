// train/pretrain.h: next-token training on documents: packed, with cosine schedule, clipping, and balanced
// experts.
//
// Documents are taken in order from a source that is a pure function of the index, so a run's place in its
// data is one number. They are packed whole into micro-batches (attention never crosses documents); a step's
// gradient is the sum over its micro-batches in order, so micro sets memory, not results beyond the order of
// that sum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/optimizer.h"
#include "train/reporter.h"
#include "train/run_directory.h"

namespace r1 {

struct Document {
  std::vector<int32_t> tokens;
  int64_t loss_from = 1;  // first token that is trained on
};
using DocumentSource = std::function<Document(int64_t index)>;

struct PretrainConfig {
  RunConfig run;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  int64_t batch_tokens = 16384;  // a step takes documents until it has this many
  int64_t micro_tokens = 4096;
  int64_t max_tokens = 512;   // a document is cut there
  double bias_gamma = 0.001;  // balance.gamma: 0 leaves the selection bias alone
  double balance_alpha = 0;   // balance.alpha: sequence-wise loss
  int64_t log_every = 1;
};

// Reads what is pre-training's own; the model and the data are read by the recipe layer
// (recipe/pretrain_stage).
PretrainConfig read_pretrain_config(ConfigFile& config);

struct TrainOptions {
  bool resume = false;
  int64_t stop_after_steps =
      0;                     // end early, as if killed after that many more steps (tests); 0: run to the end
  int64_t memory_limit = 0;  // bytes; a step that may need more is refused before the first; 0: none
};

// Trains bundle.model and leaves it in OUT/model. Throws Error.
void pretrain(ModelBundle& bundle, const PretrainConfig& config, ConfigFile& file,
              const DocumentSource& documents, ThreadPool& threads, Reporter& reporter,
              const TrainOptions& options);

}  // namespace r1
