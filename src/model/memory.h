// model/memory.h: the memory of a model and of its forward and backward, without loading the model.
//
// It is measured by running the ops themselves on a model that has shapes but no memory (Model::shape_only)
// in the mode that takes memory and launches nothing (Context::measuring). What depends on the data, like the
// tokens of an expert, counts at its worst. tests/model/memory_test.cc compares the results with real
// forwards of every family.
#pragma once

#include <cstdint>
#include <span>

#include "model/config.h"
#include "model/weight_use.h"
#include "tensor/numerics.h"

namespace r1 {

struct WeightFormats;  // model/weight_formats.h

// All in bytes.
struct ModelMemory {
  int64_t weights = 0;        // with the rotary table; matrices as they are stored, f32 while training
  int64_t gradients = 0;      // of the trainable weights; the optimizer keeps twice as much
  int64_t row_gradients = 0;  // of a tied head's rows (Parameter::row_grad)
  int64_t packed = 0;         // copies in the layout of the matrix kernels
};
// A model for inference holds each matrix once, and all of them count as packed. Matrices are stored in `formats`;
// null: all in the type of `matrices`.
ModelMemory model_memory(const ModelConfig& config, Numerics numerics, DType matrices,
                         WeightUse use = WeightUse::training, const WeightFormats* formats = nullptr);

// Bytes of the matrices that an inference model's forward reads, as the kernels hold them.
struct HeldMatrices {
  int64_t all = 0;
  int64_t embedding = 0;  // a table that is not also the head's matrix: a token reads a row
  int64_t routed = 0;     // in routed experts
};
HeldMatrices held_matrices(const ModelConfig& config, Numerics numerics, const WeightFormats& formats);

// The new tokens of a row, and the number of positions before them: those of the last earlier row without a
// prefix (a family: tensor/batch.h).
struct RowTokens {
  int64_t tokens = 0, prefix = 0;
};

// Options of row_activations.
struct ActivationOptions {
  bool backward = false;   // the batch is differentiated; otherwise it is only scored
  bool entropy = false;    // the entropy of every token is computed
  bool balance = false;    // the experts' balance loss is computed
  bool recompute = false;  // activations are checkpointed (ScoringOptions::recompute)
};
// Peak bytes of an Arena while the rows, all of whose tokens are scored, go through the model on so many
// threads. The arena also holds their keys and values.
int64_t row_activations(const ModelConfig& config, Numerics numerics, std::span<const RowTokens> rows,
                        const ActivationOptions& options, int threads);

// The largest forward of a sampler: one new token of each of `sequences` sequences and, up to `tokens` tokens
// in all, a part of a prompt. Sequences are at most `keys` positions long, and those of one prompt share its
// keys; the longest prompt has `prompt` tokens.
struct SamplingShape {
  int64_t tokens = 0, sequences = 0, prompt = 0, keys = 0;
};
// Peak bytes of an Arena of a sampler.
int64_t sampling_activations(const ModelConfig& config, Numerics numerics, const SamplingShape& shape,
                             int threads);

}  // namespace r1
