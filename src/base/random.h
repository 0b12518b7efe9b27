// base/random.h: counter-based random numbers (Philox4x32-10; Salmon, Moraes, Dror, Shaw 2011).
//
// A draw is a pure function of (key, counter), so results do not depend on workers, order or timing. Rollouts
// are keyed by (seed, step, prompt, sample, position), generators by (seed, index).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace r1 {

// One block of Philox4x32-10.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in [0, 1) from 24 of the bits, so that it is exact in f32.
inline float uniform_from_bits(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

// A stream of draws. The streams of different (seed, stream, substream) are independent.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0, uint32_t substream = 0);
  uint32_t next_u32();
  float uniform();           // [0, 1)
  double uniform_double();   // [0, 1), 53 bits
  int64_t below(int64_t n);  // 0 .. n-1, unbiased; n >= 1
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }  // both ends included
  double normal();  // Box-Muller with our own log, sin and cos: the same bits everywhere

  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[static_cast<size_t>(below(static_cast<int64_t>(i)))]);
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace r1
