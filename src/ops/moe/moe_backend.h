// ops/moe/moe_backend.h: what moe.cc asks of a backend. Private to this folder. The letters are those of
// moe.h; route.h describes Routing and Balance.
#pragma once

#include "ops/moe/route.h"

namespace r1 {

// Fills the routing's arrays. While memory is measured, `starts` is the worst case of all routings: as many
// experts as possible have rows.
struct MoeRoute {
  Tensor x;  // x of MoeSaved
  const MoeWeights& w;
  const Routing& routing;
};

// Fills the balance's arrays and adds the loss to *training.balance_loss, if that is given.
struct MoeBalance {
  const Batch& batch;
  const Routing& routing;
  RouterScore score;
  const MoeTraining& training;
  const Balance& balance;
};

// Values that the backward needs besides y.
struct MoeSaved {
  Tensor x;  // [T, D] f32; as moe() got it if the backend keeps bf16
  Routing routing{};
  Balance balance{};
  // [A T, F], by chunk and row; without a tape, room for one chunk at a time. The bits of bf16 if the backend keeps it.
  float* gate = nullptr;
  float* up = nullptr;
};

// The experts: assigns y from saved.x and saved.routing, and fills gate and up.
struct MoeForward {
  const MoeWeights& w;
  const MoeSaved& saved;
  Tensor y;  // [T, D] f32
};

struct MoeBackward {
  const MoeWeights& w;
  const MoeSaved& saved;  // gate and up are overwritten
  Tensor dy;              // no data: only the balance loss has a gradient
  GradSlot dx;            // no data: not needed
};

namespace cpu {
int64_t moe_chunk_tokens(const Context& ctx, const MoeWeights& w);  // Routing::chunk
inline bool moe_keeps_bf16(const Context&, const Tensor&) {
  return false;
}
void moe_route(Context& ctx, const MoeRoute& call);
void moe_balance(Context& ctx, const MoeBalance& call);
void moe_forward(Context& ctx, const MoeForward& call);
void moe_backward(Context& ctx, const MoeBackward& call);
}  // namespace cpu

namespace cuda {
int64_t moe_chunk_tokens(const Context& ctx, const MoeWeights& w);
// True if x, gate and up of the forward of x are kept in bf16.
bool moe_keeps_bf16(const Context& ctx, const Tensor& x);
void moe_route(Context& ctx, const MoeRoute& call);
void moe_balance(Context& ctx, const MoeBalance& call);
void moe_forward(Context& ctx, const MoeForward& call);
void moe_backward(Context& ctx, const MoeBackward& call);
}  // namespace cuda

}  // namespace r1
