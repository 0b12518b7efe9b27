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
#include <span>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/train_options.h"

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
PretrainConfig read_pretrain_config(ConfigFile& config, const OptimizerDefaults& defaults = {});

// A document's tokens as a step counts them: the last one is only predicted, and what is beyond max_tokens is
// cut.
int64_t step_tokens(const Document& document, const PretrainConfig& config);

// The memory of a step. lengths: step_tokens of the documents that a step may hold; of all there are, if they
// are known, so that no step needs more.
MemoryEstimate memory_of(const ModelConfig& model, const PretrainConfig& config,
                         std::span<const int64_t> lengths, ThreadPool& threads);

// Trains bundle.model in `run` and leaves it in OUT/model. Throws Error; Stopped.
void pretrain(ModelBundle& bundle, const PretrainConfig& config, const DocumentSource& documents,
              RunDirectory& run, const MemoryEstimate& memory, ThreadPool& threads, Reporter& reporter,
              const TrainOptions& options);

}  // namespace r1
