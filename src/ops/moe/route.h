// ops/moe/route.h: the router's part of the op. Private to this folder, its tests and its benchmark.
//
// A *slot* is one (token, selected expert) pair; each token has A slots, in ascending expert index. Tokens
// are processed in *chunks* of consecutive tokens, small enough for the caches. A *row* is a slot's place
// inside its chunk after sorting by expert, then token: the experts' products run over consecutive rows.
// Chunks change no bit: per-token results depend on that token alone, and weight gradients continue from
// chunk to chunk in token order.
#pragma once

#include <cstdint>

#include "ops/moe/moe.h"

namespace r1 {

// The arrays lie in the tensors' arena, except that `starts`, by which the CPU lists the products, lies in the
// host's; a device's products read it there, so that the host need not wait for it. They are plain pointers, so
// that a tape's closure can hold them. Chunk c holds tokens [c * chunk,
// (c + 1) * chunk), and its slots, by row, from c * chunk * A on.
struct Routing {
  int64_t T = 0, E = 0, A = 0;
  int64_t chunk = 0;             // tokens; a multiple of the 64 that route_cpu.cc processes at a time
  float* scores = nullptr;       // [T, E] s
  int32_t* experts = nullptr;    // [T, A] ascending
  float* weights = nullptr;      // [T, A]
  int32_t* rows = nullptr;       // [T, A] each slot's row
  int32_t* tokens = nullptr;     // [T * A] by chunk and row: the token, in 0 .. T-1
  float* row_weights = nullptr;  // [T * A] by chunk and row
  int64_t* starts = nullptr;     // [chunks, E + 1] expert e owns rows [starts[c, e], starts[c, e + 1])
  bool starts_on_device = false;
  int64_t slots() const { return T * A; }
  int64_t chunks() const { return (T + chunk - 1) / chunk; }
};

// The balance loss of one batch. `pull` is what it adds to the gradient of P_e.
struct Balance {
  float* pull = nullptr;         // [S, E] scale * f_e
  int32_t* token_row = nullptr;  // [T] the row of the batch that each token belongs to
};

// Computes scores, selection, weights and the sort by expert, chunk by chunk.
Routing route(Context& ctx, const Tensor& x, const MoeWeights& w);

namespace cpu {
// Assigns dlogits [T, E]. drow [T * A], by chunk and row, is the gradient of each slot's weight, or null if
// the experts got no gradient. A Balance without data means no balance loss.
void route_backward(Context& ctx, const MoeConfig& config, const Routing& routing, const float* drow,
                    const Balance& balance, float* dlogits);
}  // namespace cpu

}  // namespace r1
