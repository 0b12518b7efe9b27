// tensor/context.h: the one explicit carrier: what every op needs to know about where and how it runs.
#pragma once

#include "base/threads.h"
#include "tensor/arena.h"
#include "tensor/dtype.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

namespace r1 {

struct Context {
  Arena& arena;
  ThreadPool& threads;
  Tape* tape = nullptr;  // none: inference
  Device device = Device::cpu;
  Numerics numerics = Numerics::cpu_f32;

  // Of activations between ops.
  DType activations() const { return activation_dtype(numerics); }

  // An op's output: uninitialised, named on the tape where there is one.
  Tensor output(Shape shape, DType dtype = DType::f32) {
    Tensor t = arena.tensor(shape, dtype);
    if (tape != nullptr) tape->name(t);
    return t;
  }
};

}  // namespace r1
