// tensor/context.h: what every op needs to know about where and how it runs, passed explicitly.
#pragma once

#include "base/threads.h"
#include "tensor/arena.h"
#include "tensor/device_lists.h"
#include "tensor/input_observer.h"
#include "tensor/numerics.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"
#include "tensor/token_steps.h"

namespace r1 {

struct Context {
  Arena& arena;  // tensors and scratch, in the device's memory
  ThreadPool& threads;
  Tape* tape = nullptr;  // null: inference
  Device device = Device::cpu;
  Numerics numerics = Numerics::cpu_f32;
  Arena* host_arena = nullptr;  // null: the tensors' arena, which on the CPU serves both
  void* stream = nullptr;       // cudaStream_t; null on the CPU
  // Ops take their memory and launch nothing. The memory of the arena and of the weights is a NoMemory, and
  // the threads are idle.
  bool measuring = false;
  InputObserver* inputs = nullptr;  // is shown what products read; null: nobody is
  // The steps of sums over the tokens of this batch, for numerics that have such steps; null: token by token
  // from the first.
  const TokenSteps* steps = nullptr;
  // False: products on a GPU may sum in any order, to measure what a fixed one costs (r1 bench --no-exact).
  bool exact = true;
  // The lists of this batch that the device has; null: ops send what their kernels read.
  DeviceLists* lists = nullptr;

  const NumericsRow& row() const { return row_of(numerics, device); }
  // The type of activations between ops.
  DType activations() const { return row().activations; }
  // The closures of the tape and the task lists of kernels live here.
  Arena& host() const { return host_arena != nullptr ? *host_arena : arena; }
  Memory& memory() const { return arena.memory(); }

  // An op's output: uninitialised memory, named on the tape if there is one.
  Tensor output(Shape shape, DType dtype = DType::f32) {
    Tensor t = arena.tensor(shape, dtype);
    if (tape != nullptr) tape->name(t);
    return t;
  }
};

// The scratch of one op: at the end of its scope, both arenas are as they were.
class OpScope {
 public:
  explicit OpScope(const Context& ctx) : tensors_(ctx.arena), host_(ctx.host()) {}

 private:
  ArenaScope tensors_, host_;
};

}  // namespace r1
