// train/speed.h: how fast a model trains: steps of pre-training on rows of one length.
//
// The tokens are random, which changes no time but that of routed experts: theirs depends on how evenly they are
// chosen.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "model/lanes.h"
#include "model/model.h"
#include "tensor/kernel_times.h"
#include "train/optimizer.h"

namespace r1 {

struct TrainLoad {
  int64_t rows = 8, length = 1024;  // of a step
  int64_t micro_tokens = 8192;      // most tokens whose activations are held at a time
  bool recompute = false;           // activation checkpointing (ScoringOptions)
  bool exact = true;                // false: products on a GPU sum in any order (Context::exact)
};

class TrainMeter {
 public:
  // The model is trained on. Throws Error if the gradients and the optimizer's state do not fit into memory.
  TrainMeter(Model& model, ThreadPool& threads, Numerics numerics, const TrainLoad& load);
  TrainMeter(const TrainMeter&) = delete;
  TrainMeter& operator=(const TrainMeter&) = delete;

  // Returns the seconds of a step: forward, backward and update. Throws Error if memory does not suffice.
  double step();
  // Makes a step and returns its times by kernel; nothing on the CPU.
  std::vector<KernelTime> kernels();
  // Peak bytes of the activations so far.
  int64_t activations() const { return lanes_.peak(); }
  // FLOPs of a step: three times those of the forward.
  double flops() const;

 private:
  void run();

  Model& model_;
  TrainLoad load_;
  Optimizer optimizer_;
  Lanes lanes_;
  std::vector<std::vector<int32_t>> rows_;
};

}  // namespace r1
