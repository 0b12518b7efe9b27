// model/memory.h: computes the memory of a model and its forward by arithmetic, without loading the model.
//
// Weights, gradients and the kernels' copies follow from config.json. Activations come from a walk over the
// forward of model/forward.cc in which every op is reduced to its shapes (an operation's contract says which
// tensors it keeps). The walk takes its tensors from a real Arena and names them on a real Tape, whose memory
// nobody touches, so alignment, scopes and the order of the backward are those of the step itself.
// tests/model/memory_test.cc compares both with real forwards of every family.
#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "model/config.h"
#include "model/weight_use.h"
#include "tensor/numerics.h"

namespace r1 {

// All in bytes.
struct ModelMemory {
  int64_t weights = 0;        // with the rotary table; matrices as they are stored, f32 while training
  int64_t gradients = 0;      // of the trainable weights; the optimizer keeps twice as much
  int64_t row_gradients = 0;  // of a tied head's rows (Parameter::row_grad)
  int64_t packed = 0;         // copies in the layout of the matrix kernels
};
// A model for inference holds each matrix once: those that products read count as packed.
ModelMemory model_memory(const ModelConfig& config, Numerics numerics, DType matrices,
                         WeightUse use = WeightUse::training);

// The new tokens of a row, and the number of positions before them: those of the last earlier row without a
// prefix (a family: tensor/batch.h).
struct RowTokens {
  int64_t tokens = 0, prefix = 0;
  int64_t keys() const { return prefix + tokens; }
};

// Options of row_activations.
struct ActivationOptions {
  bool backward = false;  // the batch is differentiated; otherwise it is only scored
  bool entropy = false;   // the entropy of every token is computed
  bool balance = false;   // the experts' balance loss is computed
};
int64_t row_activations(const ModelConfig& config, Numerics numerics, std::span<const RowTokens> rows,
                        const ActivationOptions& options, ThreadPool& threads);

// Peak bytes of an Arena while `tokens` new tokens of `sequences` sequences of at most `keys` positions go
// through the sampler.
int64_t sampling_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t sequences,
                             int64_t keys, ThreadPool& threads);

}  // namespace r1
