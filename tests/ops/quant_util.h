// tests/ops/quant_util.h: random blocks of every format.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "tensor/stored.h"

namespace r1 {

inline std::vector<Format> block_formats() {
  std::vector<Format> list;
  for (size_t i = 0; i < kFormats; ++i) {
    if (is_blocks(static_cast<Format>(i))) list.push_back(static_cast<Format>(i));
  }
  return list;
}

// Where the f16 scales of a block are; -1: there is no second one.
struct ScalePlaces {
  int d, dmin;
};
inline ScalePlaces scale_places(Format format) {
  switch (format) {
    case Format::q4_1:
    case Format::q5_1:
    case Format::q4_k:
    case Format::q5_k:
      return {0, 2};
    case Format::q2_k:
      return {80, 82};
    case Format::q3_k:
      return {108, -1};
    case Format::q6_k:
      return {208, -1};
    default:
      return {0, -1};
  }
}

// `elements` elements of random bytes. Scales are random too, but finite: some are 0, denormal or negative.
inline std::vector<std::byte> random_blocks(Format format, int64_t elements, uint64_t seed) {
  Random random(seed, static_cast<uint64_t>(format));
  std::vector<std::byte> out(static_cast<size_t>(bytes_of(format, elements)));
  for (std::byte& b : out) b = static_cast<std::byte>(random.below(256));
  const ScalePlaces places = scale_places(format);
  const auto size = static_cast<size_t>(row_of(format).bytes);
  for (size_t at = 0; at < out.size(); at += size)
    for (const int place : {places.d, places.dmin}) {
      if (place < 0) continue;
      const uint64_t kind = random.below(16);
      uint16_t half = static_cast<uint16_t>(0x0C00 + random.below(0x1400));  // 2^-12 to 2^-7
      if (kind == 0) half = 0;
      if (kind == 1) half = static_cast<uint16_t>(random.below(0x400));  // denormal
      if (random.below(2) == 1) half = static_cast<uint16_t>(half | 0x8000);
      std::memcpy(out.data() + at + static_cast<size_t>(place), &half, sizeof(half));
    }
  return out;
}

}  // namespace r1
