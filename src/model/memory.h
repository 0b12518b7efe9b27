// model/memory.h: the memory that a model and its forward take, by arithmetic: nothing is loaded or computed.
//
// Weights, gradients and the kernels' copies follow from config.json. Activations come from a walk over the
// forward of model/forward.cc in which every op is its shapes alone (an operation's contract says what it
// keeps): the walk takes its tensors from a real Arena and names them on a real Tape, whose memory nobody
// touches, so that alignment, scopes and the order of the backward are those of the step itself.
// tests/model/memory_test.cc holds both against real forwards of every family.
#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "model/config.h"
#include "tensor/dtype.h"

namespace r1 {

// Bytes.
struct ModelMemory {
  int64_t weights = 0;        // and the rotary table; matrices as they are stored, f32 while training
  int64_t gradients = 0;      // of the trainable ones; the optimizer keeps twice as much
  int64_t row_gradients = 0;  // of a tied head's rows (Parameter::row_grad)
  int64_t packed = 0;         // copies in the layout of the matrix kernels
};
ModelMemory model_memory(const ModelConfig& config, Numerics numerics, DType matrices);

// New tokens of a row, and the positions before them: those of the last row before it that has none (a
// family: tensor/batch.h).
struct RowTokens {
  int64_t tokens = 0, prefix = 0;
  int64_t keys() const { return prefix + tokens; }
};

// The most that an Arena holds at a time, in bytes, while a batch of these rows is ...
struct ActivationOptions {
  bool backward = false;  // ... differentiated, else only scored
  bool entropy = false;   // with the entropy of every token
  bool balance = false;   // with the experts' balance loss
};
int64_t row_activations(const ModelConfig& config, Numerics numerics, std::span<const RowTokens> rows,
                        const ActivationOptions& options, ThreadPool& threads);

// ... `tokens` new tokens of `sequences` sequences of at most `keys` positions go through the sampler.
int64_t sampling_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t sequences,
                             int64_t keys, ThreadPool& threads);

}  // namespace r1
