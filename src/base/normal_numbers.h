// base/normal_numbers.h: normal numbers of base/random.h's streams, any part of a stream at a time.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace r1 {

// Numbers first, first + 1, ... of a stream: what Random(seed, stream).normal() returns when it is called first + 1,
// first + 2, ... times.
struct NormalStream {
  uint64_t seed = 0, stream = 0;
  uint64_t first = 0;
};
// to[i] = number i of the stream times `scale`, rounded to f32 once.
void normal_numbers(const NormalStream& stream, double scale, std::span<float> to);

// A normal number of one block of Philox: Box-Muller.
double normal_from_bits(const std::array<uint32_t, 4>& bits);

}  // namespace r1
