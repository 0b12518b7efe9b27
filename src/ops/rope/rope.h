// ops/rope/rope.h: rotary position embedding (Su et al. 2021), interleaved (DeepSeek) and half-rotated
// (Llama, Qwen).
//
// Pair i of a head of rotary width P turns by angle position * inv_freq[i]. Interleaved pairs are (2i, 2i+1);
// half-rotated ones (i, i + P/2). Output order: half-rotated keeps places; interleaved writes pair i to (2i,
// 2i+1) as well: a permutation of what transformers' DeepSeek code stores (it writes halves), the same for q
// and k, so scores are equal.
//
//   y0 = x0 cos - x1 sin,   y1 = x1 cos + x0 sin       cpu-f32: fma(x0, c, -(x1 * s)), fma(x1, c, x0 * s)
//
// Rounding points: inv_freq is f32; angle = f32(position) * inv_freq in f32; sin and cos of that f32 angle in
// double (base/math.h), rounded to f32, times `attention_factor` in f32.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tensor/context.h"

namespace r1 {

// inv_freq and the cosines and sines of one model, for positions [0, max_positions). They are made in blocks,
// each when one of its positions is first asked for: a context of a million positions costs nothing until it
// is used. Copies share the blocks. Safe from many threads.
class RopeTable {
 public:
  RopeTable() = default;
  // inv_freq [P/2]; scaling (YaRN, Llama 3) is done by whoever makes inv_freq (model/rope_config).
  RopeTable(std::span<const float> inv_freq, float attention_factor, int64_t max_positions);
  int64_t width() const { return pairs_ * 2; }  // P
  int64_t max_positions() const { return max_positions_; }
  const float* cosines(int64_t position) const {
    return block(position) + position % kBlock * pairs_;
  }                                                                                           // [P/2]
  const float* sines(int64_t position) const { return cosines(position) + kBlock * pairs_; }  // [P/2]

 private:
  static constexpr int64_t kBlock = 256;  // positions
  struct Blocks;
  const float* block(int64_t position) const;  // cosines [kBlock, P/2], then sines
  const float* make_block(int64_t index) const;

  std::shared_ptr<Blocks> blocks_;
  int64_t pairs_ = 0;
  int64_t max_positions_ = 0;
};

enum class RopeStyle : uint8_t { interleaved, half };

// Where tokens stand and how their heads turn, for ops that turn a part of what they make. A tape reads it
// again: positions and table must outlive it.
struct Rotary {
  std::span<const int32_t> positions;  // [T]
  const RopeTable* table = nullptr;
  RopeStyle style = RopeStyle::interleaved;
  int64_t width() const { return table->width(); }
};

// The `width` floats at x + (t * H + h) * x_head, turned (back: the other way), to y + (t * H + h) * y_head,
// added to what is there or not.
struct RopeHeads {
  const float* x = nullptr;
  int64_t x_head = 0;
  float* y = nullptr;
  int64_t y_head = 0;
  int64_t H = 1;
  bool back = false, add = false;
};
void rope_heads(ThreadPool& threads, const Rotary& rotary, const RopeHeads& heads);

// x [T, H, K]: the last P of each head's K components turn (offset = K - P; for GQA models K == P), the rest
// is copied. positions [T]; a position >= max_positions is a broken invariant (callers check lengths first).
// The backward reads `positions` and `table` again: they must outlive the tape.
Tensor rope(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const RopeTable& table,
            RopeStyle style);

namespace ref {
// angle tables in double from the same f32 angles. backward = true turns the other way.
void rope(const float* x, const int32_t* positions, const float* inv_freq, double attention_factor, int64_t T,
          int64_t H, int64_t K, int64_t P, RopeStyle style, bool backward, double* y);
}  // namespace ref

}  // namespace r1
