// ops/moe/route.h: who goes where: the router's part of the op, between moe_cpu.cc and route_cpu.cc only.
//
// A *slot* is one (token, selected expert) pair; A slots a token, in ascending expert index. Tokens are
// worked on in *chunks* of consecutive ones, small enough for the caches. A *row* is a slot's place inside
// its chunk after sorting by expert, then token: the experts' products run over consecutive rows. Chunks
// change no bit: what is per token is per token, and weight gradients go on from chunk to chunk in token
// order.
#pragma once

#include <cstdint>

#include "ops/moe/moe.h"

namespace r1 {

// Everything lies in the arena; plain pointers, so that a tape's closure can hold it. Chunk c holds tokens
// [c * chunk, (c + 1) * chunk) and slots, by row, from c * chunk * A on.
struct Routing {
  int64_t T = 0, E = 0, A = 0;
  int64_t chunk = 0;             // tokens; a multiple of the 64 that route_cpu.cc walks at a time
  float* scores = nullptr;       // [T, E] s = sigmoid(x . Wg)
  int32_t* experts = nullptr;    // [T, A] ascending
  float* weights = nullptr;      // [T, A]
  int32_t* rows = nullptr;       // [T, A] the slot's row
  int32_t* tokens = nullptr;     // [T * A] by chunk and row: the token of all T
  float* row_weights = nullptr;  // [T * A] by chunk and row
  int64_t* starts = nullptr;     // [chunks, E + 1] expert e owns rows [starts[c, e], starts[c, e + 1])
  int64_t slots() const { return T * A; }
  int64_t chunks() const { return (T + chunk - 1) / chunk; }
};

// The balance loss of one batch; `pull` is what it adds to the gradient of P_e.
struct Balance {
  const float* pull = nullptr;         // [S, E] scale * f_e
  const int32_t* token_row = nullptr;  // [T] the row of the batch that a token belongs to
};

// Scores, selection, weights and the sort by expert, chunk by chunk. Takes what it returns from the arena.
Routing route(Context& ctx, const Tensor& x, const MoeWeights& w);

// Adds the loss to *training.balance_loss where given; takes what it returns from the arena.
Balance balance(Context& ctx, const Batch& batch, const Routing& routing, const MoeTraining& training);

// dlogits [T, E], assigned. drow [T * A], by chunk and row: the gradient of each slot's weight; null: none
// (the experts got no gradient). Balance without data: no balance loss.
void route_backward(Context& ctx, const MoeConfig& config, const Routing& routing, const float* drow,
                    const Balance& balance, float* dlogits);

}  // namespace r1
