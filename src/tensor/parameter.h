// tensor/parameter.h: a named weight of a model, with its value and, in training, its gradient.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace r1 {

struct Parameter {
  std::string name;  // the checkpoint's name, "model.layers.0.mlp.gate_proj.weight"
  Tensor value;      // row-major as in the checkpoint; f32, or bf16 (matrices of a model that is not trained)
  Tensor grad;       // f32, the same shape; ops add into it. No data: the parameter is frozen
  // The gradient of row look-ups, for a table that is also a matrix (a tied head). It stays separate until
  // the whole batch is differentiated (Model::join_gradients): no bit depends on how the batch was cut.
  Tensor row_grad{};
  // Whoever writes `value` adds one, so that packed copies (ops/matmul) know that they are stale.
  uint64_t version = 1;
  bool trainable = true;  // false if no gradient reaches it, e.g. the router's selection bias
};

}  // namespace r1
