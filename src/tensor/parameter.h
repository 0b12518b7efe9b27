// tensor/parameter.h: a named weight of a model, with its value and, in training, its gradient.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "tensor/stored.h"
#include "tensor/tensor.h"
#include "tensor/transfer.h"

namespace r1 {

struct Parameter {
  std::string name;  // the checkpoint's name, "model.layers.0.mlp.gate_proj.weight"
  // Row-major as in the checkpoint; f32, or bf16 (matrices of a model that is not trained). If the parameter
  // is frozen, it has a shape and a type but no data: the values are those of `stored`, rounded to this type,
  // and only the Weight holds them in memory.
  Tensor value;
  Tensor grad;  // f32, the same shape; ops add into it. It has no data if the parameter gets no gradient
  // The gradient of row look-ups, for a table that is also a matrix (a tied head). It stays separate until
  // the whole batch is differentiated (Model::join_gradients): no bit depends on how the batch was cut.
  Tensor row_grad{};
  // Whoever writes `value` adds one, so that packed copies (ops/matmul) know that they are stale.
  uint64_t version = 1;
  bool trainable = true;  // false if no gradient reaches it, e.g. the router's selection bias
  Stored stored{};        // set if the parameter is frozen

  bool frozen() const { return static_cast<bool>(stored); }
};

// Passes a parameter's values, which lie in `memory`, to f in f32, piece by piece and in order. Those of a
// frozen one are read from where they are stored; throws Error if they cannot be.
template <class F>
void in_f32(Memory& memory, const Parameter& p, const F& f) {
  if (!p.frozen()) return in_f32(memory, p.value, f);
  std::array<float, 4096> piece;
  const int64_t count = p.value.count();
  for (int64_t at = 0; at < count; at += std::ssize(piece)) {
    const auto part = std::span(piece).first(static_cast<size_t>(std::min(std::ssize(piece), count - at)));
    p.stored.read(at, part);
    if (p.value.dtype == DType::bf16) {
      for (float& v : part) v = f32_from_bf16(bf16_from_f32(v));
    }
    f(std::span<const float>(part));
  }
}

}  // namespace r1
