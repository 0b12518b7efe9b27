// tensor/batch.h: the one shape of input: a ragged batch. Prefill, decode, scoring and training differ in
// raggedness only.
#pragma once

#include <cstdint>
#include <span>

namespace r1 {

// S rows (one a sequence) of new tokens. Row s holds tokens [offsets[s], offsets[s+1]) at consecutive
// positions. Its keys lie in pages: position p of row s is slot p % kKeyTile of page pages[s * max_pages + p
// / kKeyTile].
//
// Training and scoring may run a prompt once for several answers (a family): a row with a parent goes on from
// the end of that row of the same batch, whose keys precede its own. A parent starts at position 0 and is
// followed by all its children. A child's table begins with the parent's full pages; the page where the
// parent ends is each child's own, and attention writes the parent's part of it there as well.
//
// Samples of one prompt share its keys: a row with a prefix reads those of positions below prefixes[s] from
// pages that others read too: the whole ones are in its table, the one where the prefix ends is tails[s],
// while its own tokens of that page lie in the page of its table. Its new tokens come behind the prefix.
// Neighbours with the same prefix are attended together.
struct Batch {
  std::span<const int32_t> tokens;     // [T]
  std::span<const int32_t> positions;  // [T], from 0 in each sequence
  std::span<const int32_t> offsets;    // [S+1]
  std::span<const int32_t> pages;      // [S, max_pages]; what lies past a row's last page is not read
  int64_t max_pages = 0;
  std::span<const int32_t> parents{};   // [S], -1: none; empty: no row has one
  std::span<const int64_t> prefixes{};  // [S] tokens, 0: none; empty: no row has one
  std::span<const int32_t> tails{};     // [S], -1 where the prefix is of whole pages; as prefixes
  int64_t parent(int64_t s) const { return parents.empty() ? -1 : parents[static_cast<size_t>(s)]; }
  int64_t prefix(int64_t s) const { return prefixes.empty() ? 0 : prefixes[static_cast<size_t>(s)]; }
  int32_t tail(int64_t s) const { return tails.empty() ? -1 : tails[static_cast<size_t>(s)]; }
  int64_t T() const { return static_cast<int64_t>(tokens.size()); }
  int64_t S() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

// Keys are tiled from a sequence's position 0, never from a page, chunk or packing offset; a page is one
// tile.
inline constexpr int64_t kKeyTile = 32;

}  // namespace r1
