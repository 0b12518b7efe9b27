// ops/attention/attention_backend.h: what attention.cc asks of a backend. Private to this folder.
#pragma once

#include "ops/attention/attention.h"

namespace r1 {

// Values of the forward that the backward reads. They lie in the tensors' arena until the tape has run.
struct AttentionSaved {
  float* maxima = nullptr;  // [T, H]; null: nothing is saved
  float* sums = nullptr;    // [T, H]
  Tensor out{};             // [T, H, V] f32: the output before it is rounded, or the output itself
};

// Writes k and v into the pages, then assigns `out`. The batch has been checked. No k and v: the pages hold those
// of the batch already, whose rows have one token each; on CUDA devices alone.
struct AttentionForward {
  const Batch& batch;
  const KvPages& pages;
  Tensor q, k, v, out;
  float scale = 1;
  AttentionSaved saved{};
};

struct AttentionBackward {
  Tensor q, k, v, d_out;
  float scale = 1;
  AttentionSaved saved{};
  KvPages pages{};  // their form alone; the memory may be gone
  // Copies of the batch's, in the host arena.
  int64_t S = 0;
  const int32_t* offsets = nullptr;  // [S + 1]
  const int32_t* parents = nullptr;  // [S]; null if no row has one
  GradSlot dq{}, dk{}, dv{};         // no data: not needed
};

// Norms and turns the heads of rows of one token each: queries into `turned`, keys and values into their pages.
struct PlaceHeads {
  const Batch& batch;
  const KvPages& pages;
  const ProjectedHeads& heads;
  Tensor turned;  // [T, H, K]
};

// Attention of such rows in one launch.
struct AttendHeads {
  const Batch& batch;
  const KvPages& pages;
  const ProjectedHeads& heads;
  Tensor out;
  float scale = 1;
};

struct LatentPagesOf {
  const Batch& batch;
  const KvPages& pages;
};
// Norms latents and turns rotary parts of rows of one token each.
struct PlaceLatents {
  const Batch& batch;
  const KvPages& pages;
  const ProjectedLatents& latents;
  Tensor absorbed;
};

namespace cpu {
inline bool has_place_latents(const Context&, const LatentPagesOf&) {
  return false;
}
inline void place_latents(Context&, const PlaceLatents&) {
  R1_CHECK(false, "the CPU has no place_latents");
}
inline bool values_gradient_in_keys(const Context&, const KvPages&) {
  return false;
}
inline bool has_place_heads(const Context&, const PlaceHeads&) {
  return false;
}
inline void place_heads(Context&, const PlaceHeads&) {
  R1_CHECK(false, "the CPU has no place_heads");
}
inline bool attend_heads(Context&, const AttendHeads&) {
  return false;
}
void attention_forward(Context& ctx, const AttentionForward& call);
void attention_backward(Context& ctx, const AttentionBackward& call);
}  // namespace cpu

namespace cuda {
bool has_place_latents(const Context& ctx, const LatentPagesOf& call);
void place_latents(Context& ctx, const PlaceLatents& call);
// True if the backward adds the gradient of values that lie in keys to that of the keys; dv must then be empty.
bool values_gradient_in_keys(const Context& ctx, const KvPages& pages);
bool has_place_heads(const Context& ctx, const PlaceHeads& call);
void place_heads(Context& ctx, const PlaceHeads& call);
// Returns false, and does nothing, if there is no kernel for these pages. has_place_heads() is true.
bool attend_heads(Context& ctx, const AttendHeads& call);
void attention_forward(Context& ctx, const AttentionForward& call);
void attention_backward(Context& ctx, const AttentionBackward& call);
}  // namespace cuda

}  // namespace r1
