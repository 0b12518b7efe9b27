// tensor/batch.h: the one form of input, a ragged batch. Prefill, decode, scoring and training differ
// only in how ragged it is.
#pragma once

#include <cstdint>
#include <span>

namespace r1 {

// S rows of new tokens, one row per sequence. Row s holds tokens [offsets[s], offsets[s+1]) at consecutive
// positions. Its keys lie in pages: position p of row s is slot p % kKeyTile of page
// pages[s * max_pages + p / kKeyTile].
//
// Prefixes: rows of one prompt share its keys, in sampling, scoring and training alike. A row with a prefix
// reads the keys of positions below prefixes[s] from pages that other rows read too. The whole pages are in
// its table; the page where the prefix ends is tails[s], and the row's own tokens of that page lie in the page
// of its table. Its new tokens follow the prefix. Neighbours with the same prefix are attended together.
//
// Parents: in scoring and training, a row of the same batch may compute the prefix: the parent. Its children
// follow it, and begin where it ends. The gradients of the prefix's keys and values are those of the parent.
struct Batch {
  std::span<const int32_t> tokens;     // [T]
  std::span<const int32_t> positions;  // [T], from 0 in each sequence
  std::span<const int32_t> offsets;    // [S+1]
  std::span<const int32_t> pages;      // [S, max_pages]; entries past a row's last page are not read
  int64_t max_pages = 0;
  std::span<const int64_t> prefixes{};  // [S] in tokens, 0: no prefix; empty: no row has one
  std::span<const int32_t> tails{};     // [S], -1: the prefix ends with a whole page; empty if prefixes is
  std::span<const int32_t> parents{};   // [S], -1: no parent; empty: no row has one
  int64_t parent(int64_t s) const { return parents.empty() ? -1 : parents[static_cast<size_t>(s)]; }
  int64_t prefix(int64_t s) const { return prefixes.empty() ? 0 : prefixes[static_cast<size_t>(s)]; }
  int32_t tail(int64_t s) const { return tails.empty() ? -1 : tails[static_cast<size_t>(s)]; }
  int64_t T() const { return static_cast<int64_t>(tokens.size()); }
  int64_t S() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

// Keys are tiled from a sequence's position 0, never from a page, chunk or packing offset; a page is a tile.
inline constexpr int64_t kKeyTile = 32;

}  // namespace r1
