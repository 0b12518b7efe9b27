// tensor/parameter.h: a named weight of a model: its value and, while training, its gradient.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace r1 {

struct Parameter {
  std::string name;  // the checkpoint's name, "model.layers.0.mlp.gate_proj.weight"
  Tensor value;      // row-major as in the checkpoint; f32, or bf16 (matrices of a model that is not trained)
  Tensor grad;       // f32, the same shape; no data: frozen. Ops add into it
  // Of a table that is a matrix as well (a tied head), likewise: what the rows that were looked up get. It is
  // apart until all of a batch is differentiated (Model::join_gradients): how the batch was cut then moves no
  // bit.
  Tensor row_grad{};
  uint64_t version =
      1;  // whoever writes `value` adds one: packed copies (ops/matmul) know that they are stale
  bool trainable = true;  // false: e.g. the router's selection bias, which no gradient reaches
};

}  // namespace r1
