// ops/loss/loss_backend.h: what loss.cc asks of a backend. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/matmul.h"
#include "tensor/context.h"

namespace r1 {

struct LogProbs {
  Tensor h;                          // [T, D]
  Tensor logprobs;                   // [T]
  Tensor entropy;                    // [T]; no data: not wanted
  const Weight* head = nullptr;      // [V, D]
  std::span<const int32_t> targets;  // [T], on the host
  float inv_temperature = 1;
  // Kept for the backward; no data: there is none, or (logits) it computes them again.
  Tensor max, sum;  // [T], as RowSoftmax has them
  Tensor logits;    // [tokens with a target, V], tempered
};

struct LogProbsBackward {
  LogProbs forward;
  Tensor dlogprobs;  // [T]
  GradSlot dh;       // no data: not needed
};

namespace cpu {
void log_probs_forward(Context& ctx, const LogProbs& call);
void log_probs_backward(Context& ctx, const LogProbsBackward& call);
}  // namespace cpu

namespace cuda {
void log_probs_forward(Context& ctx, const LogProbs& call);
void log_probs_backward(Context& ctx, const LogProbsBackward& call);
}  // namespace cuda

}  // namespace r1
