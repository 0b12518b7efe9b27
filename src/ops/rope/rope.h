// ops/rope/rope.h: rotary position embedding (Su et al. 2021), interleaved (DeepSeek) and half-rotated
// (Llama, Qwen).
//
// Pair i of a head of rotary width P turns by the angle position * inv_freq[i].
//
//   interleaved    pairs are (2i, 2i + 1)
//   half-rotated   pairs are (i, i + P / 2)
//
//   y0 = x0 cos - x1 sin     cpu-f32: fma(x0, c, -(x1 * s))
//   y1 = x1 cos + x0 sin     cpu-f32: fma(x1, c, x0 * s)
//
// Both styles keep each pair in its places. For interleaved pairs this is a permutation of what transformers'
// DeepSeek code stores (it writes halves). It is the same for q and k, so scores are equal.
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

// inv_freq, cosines and sines of one model, for positions [0, max_positions). The tables are made in blocks,
// each when one of its positions is first needed: a context of a million positions costs nothing until it is
// used. Copies share the blocks. Safe to use from many threads.
class RopeTable {
 public:
  RopeTable() = default;
  // inv_freq [P/2]. Whoever makes inv_freq does the scaling (YaRN, Llama 3; model/rope_config).
  RopeTable(std::span<const float> inv_freq, float attention_factor, int64_t max_positions);
  int64_t width() const { return pairs_ * 2; }  // P
  int64_t max_positions() const { return max_positions_; }
  // A position outside [0, max_positions) is a broken invariant (callers check lengths first).
  void check(std::span<const int32_t> positions) const;
  // [P/2] each.
  const float* cosines(int64_t position) const { return block(position) + position % kBlock * pairs_; }
  const float* sines(int64_t position) const { return cosines(position) + kBlock * pairs_; }
  // All of positions [0, count) in whole blocks of kBlock, each cosines [kBlock, P/2], then sines: a copy in
  // `memory`, which stays with the table. It is made on first use, and again when later positions are needed.
  const float* copy_in(Memory& memory, int64_t count) const;
  static constexpr int64_t kBlock = 256;  // positions

 private:
  struct Blocks;
  const float* block(int64_t position) const;  // cosines [kBlock, P/2], then sines
  const float* make_block(int64_t index) const;

  std::shared_ptr<Blocks> blocks_;
  int64_t pairs_ = 0;
  int64_t max_positions_ = 0;
};

enum class RopeStyle : uint8_t { interleaved, half };

// Positions of tokens and how their heads turn, for ops that turn a part of their output. A tape reads it
// again, so positions and table must outlive the tape.
struct Rotary {
  std::span<const int32_t> positions;  // [T]
  const RopeTable* table = nullptr;
  RopeStyle style = RopeStyle::interleaved;
  int64_t width() const { return table->width(); }
};

// The CPU's kernels of other ops call this. It turns the `width` floats at x + (t * H + h) * x_head and
// writes them to y + (t * H + h) * y_head. `back` turns the other way; `add` adds to y instead of assigning.
struct RopeHeads {
  const float* x = nullptr;
  int64_t x_head = 0;
  float* y = nullptr;
  int64_t y_head = 0;
  int64_t H = 1;
  bool back = false, add = false;
};
void rope_heads(ThreadPool& threads, const Rotary& rotary, const RopeHeads& heads);

// x [T, H, K]: the last P of each head's K components turn (offset = K - P; for GQA models K = P), the rest
// is copied. positions [T], checked. The backward reads `positions` and `table` again, so they must outlive
// the tape.
Tensor rope(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const RopeTable& table,
            RopeStyle style);

namespace ref {
// The tables are in double, from the same f32 angles. backward = true turns the other way.
void rope(const float* x, const int32_t* positions, const float* inv_freq, double attention_factor, int64_t T,
          int64_t H, int64_t K, int64_t P, RopeStyle style, bool backward, double* y);
}  // namespace ref

}  // namespace r1
