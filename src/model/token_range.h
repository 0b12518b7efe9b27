// model/token_range.h: stretches of a sequence's tokens, such as those that are scored or trained on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"

namespace r1 {

// Positions [begin, end) of a sequence.
struct TokenRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

// A list of ranges is in order; its ranges are not empty and do not overlap.
using TokenRanges = std::vector<TokenRange>;

// Returns [from, size) as a list, which is empty if from >= size.
inline TokenRanges tail_range(int64_t from, int64_t size) {
  return from < size ? TokenRanges{{from, size}} : TokenRanges{};
}

inline int64_t count_tokens(std::span<const TokenRange> ranges) {
  int64_t count = 0;
  for (const TokenRange& r : ranges) count += r.size();
  return count;
}

// Fails if the ranges are no list in the sense above, or leave [low, high).
inline void check_ranges(std::span<const TokenRange> ranges, int64_t low, int64_t high) {
  for (const TokenRange& r : ranges) {
    R1_CHECK(r.begin >= low && r.begin < r.end && r.end <= high, "range [", r.begin, ", ", r.end,
             ") is not within [", low, ", ", high, ") in order");
    low = r.end;
  }
}

// Returns the parts of the ranges within [begin, end), counted from `begin`.
inline TokenRanges ranges_within(std::span<const TokenRange> ranges, int64_t begin, int64_t end) {
  TokenRanges out;
  for (const TokenRange& r : ranges) {
    const int64_t first = std::max(r.begin, begin), last = std::min(r.end, end);
    if (first < last) out.push_back({first - begin, last - begin});
  }
  return out;
}

// Calls use(range, number of tokens of the ranges before it) for each range.
template <class Use>
void each_range(std::span<const TokenRange> ranges, const Use& use) {
  int64_t before = 0;
  for (const TokenRange& r : ranges) {
    use(r, before);
    before += r.size();
  }
}

}  // namespace r1
