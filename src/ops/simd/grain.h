// ops/simd/grain.h: how much of a memory-bound op one chunk covers. Chunks never change a bit.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/integers.h"
#include "base/threads.h"

namespace r1 {

inline constexpr int64_t kGrainFloats = 32768;  // 128 KiB of one operand: a few microseconds at L2 speed

// Rows of `width` floats per chunk.
inline int64_t row_grain(int64_t width) {
  return std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, width));
}

// Columns per thread, for sums over rows that must run in order; a multiple of a cache line.
inline int64_t column_grain(const ThreadPool& threads, int64_t columns) {
  const int64_t share = ceil_div(columns, threads.size());
  return std::max<int64_t>(16, (share + 15) / 16 * 16);
}

}  // namespace r1
