// train/pretrain.h: next-token training on packed documents, with cosine schedule, clipping and balanced
// experts.
//
// Documents are taken in order from a source that is a pure function of the index, so a run's position in its
// data is one number. They are packed whole into micro-batches (attention never crosses documents). A step's
// gradient is the sum over its micro-batches in order, so batch.micro changes the memory, and the result only
// by the order of that sum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "model/token_range.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/train_options.h"

namespace r1 {

struct Document {
  std::vector<int32_t> tokens;
  TokenRanges trained;  // the tokens that are trained on; nothing precedes token 0, so it is never one
  // Returns the number of tokens before the first one that is trained on.
  int64_t prompt_size() const { return trained.empty() ? std::ssize(tokens) : trained.front().begin; }
};
// Returns a document that is trained on from token max(1, from) on.
Document document_from(std::vector<int32_t> tokens, int64_t from = 1);
using DocumentSource = std::function<Document(int64_t index)>;

struct PretrainConfig {
  RunConfig run;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  int64_t batch_tokens = 16384;  // a step takes documents until it has this many
  int64_t micro_tokens = 4096;
  bool recompute = false;     // batch.recompute: activation checkpointing (ScoringOptions)
  int64_t max_tokens = 512;   // longer documents are cut
  double bias_gamma = 0.001;  // balance.gamma: 0 leaves the selection bias alone
  double balance_alpha = 0;   // balance.alpha: sequence-wise loss
  int64_t log_every = 1;
};

// Reads the settings of pre-training itself. The recipe layer reads the model and the data
// (recipe/pretrain_data.h).
PretrainConfig read_pretrain_config(ConfigFile& config, const OptimizerDefaults& defaults = {});
// Throws Error if the file sets balance.gamma, and the model's router has no selection bias, or
// balance.alpha, and the model has no experts.
void check_balance(const ConfigFile& file, const PretrainConfig& config, const ModelConfig& model);

// Returns the number of tokens that a step counts for a document. The last token is only predicted, so it
// does not count; tokens beyond max_tokens are cut.
int64_t step_tokens(const Document& document, const PretrainConfig& config);

// Estimates the memory of a step. `lengths` holds the step_tokens of the documents that a step may hold: of
// all documents if they are known, so that no step needs more.
MemoryEstimate memory_of(const ModelConfig& model, const PretrainConfig& config,
                         std::span<const int64_t> lengths, ThreadPool& threads);

// Trains bundle.model in `run` and writes it to OUT/model. Throws Error or Stopped.
void pretrain(ModelBundle& bundle, const PretrainConfig& config, const DocumentSource& documents,
              RunDirectory& run, const MemoryEstimate& memory, ThreadPool& threads, Reporter& reporter,
              const TrainOptions& options);

}  // namespace r1
