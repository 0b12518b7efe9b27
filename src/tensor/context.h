// tensor/context.h: what every op needs to know about where and how it runs, passed explicitly.
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
  Tape* tape = nullptr;  // null: inference
  Device device = Device::cpu;
  Numerics numerics = Numerics::cpu_f32;

  // The type of activations between ops.
  DType activations() const { return activation_dtype(numerics); }

  // An op's output: uninitialised memory, named on the tape if there is one.
  Tensor output(Shape shape, DType dtype = DType::f32) {
    Tensor t = arena.tensor(shape, dtype);
    if (tape != nullptr) tape->name(t);
    return t;
  }
};

}  // namespace r1
