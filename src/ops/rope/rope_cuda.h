// ops/rope/rope_cuda.h: rotary position embedding on a CUDA device, with cpu-f32's bits. For this folder, for
// CUDA kernels of ops that turn a part of their output, and for tests.
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws
// Error if a launch is refused.
#pragma once

#include <cstdint>

#include "ops/rope/rope.h"

namespace r1::cuda {

// The sines and cosines of positions [0, n), as RopeTable lays them out: for each kRopeBlock positions,
// cosines [kRopeBlock, P/2], then sines [kRopeBlock, P/2].
inline constexpr int64_t kRopeBlock = 256;

// For every t and h: copies (or adds) the first `still` floats at x + (t * H + h) * x_head to
// y + (t * H + h) * y_head, and turns the next P floats. x may be y if nothing is added. With `bf16`, x and y
// are bits of bf16: a result is rounded once.
struct RopeRows {
  const void* x = nullptr;
  int64_t x_head = 0;
  void* y = nullptr;
  int64_t y_head = 0;
  int64_t T = 0, H = 1;
  int64_t still = 0, P = 0;
  const int32_t* positions = nullptr;  // [T]
  const float* table = nullptr;        // of kRopeBlock positions each, up to the last one used
  bool interleaved = false;            // pairs (2i, 2i + 1); otherwise (i, i + P/2)
  bool back = false;                   // turns the other way
  bool add = false;                    // adds to y; not to bf16
  bool bf16 = false;
  bool rounds = false;  // x is f32, and y bits of bf16
};
void rope_rows(const RopeRows& rows, void* stream);

// Fills in T, P, positions, the table and the style, and turns. Positions and table are on the host.
void turn_rows(Context& ctx, const Rotary& rotary, RopeRows rows);

// r1::rope_heads on the device: x and y of `heads` are the device's, positions and table are on the host.
void rope_heads(Context& ctx, const Rotary& rotary, const RopeHeads& heads);

}  // namespace r1::cuda
