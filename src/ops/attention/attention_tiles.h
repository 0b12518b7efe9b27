// ops/attention/attention_tiles.h: how attention for many rows is cut into tiles, and the order in which they begin.
// Private to this folder.
//
// Tiles read the same keys, or the same queries, again and again. Rows of the batch are therefore taken in chunks whose
// operands stay in the device's second-level cache: first all tiles of a chunk, then those of the next. Inside a chunk
// the longest begin first, because the device would wait for them at the end.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/arena.h"

namespace r1 {

inline constexpr int32_t kTileKeys = 64;

// Query rows [row, row + rows) of (row of the batch, group g): query row r is head r % (H / G) of token r / (H / G). The
// row's tokens begin at `first`, behind a prefix whose tokens begin at `prefix_first`.
struct TileOfQueries {
  int32_t first, row, rows, g;
  int32_t prefix_first, prefix;
};

// Keys of group g of the tokens [token, token + keys). They are seen by query rows of their family, which count from
// token `query_token` on: key i by those in [begin + i (H / G), end).
struct TileOfKeys {
  int32_t token, keys, g;
  int32_t query_token, begin, end;
};

// Rows of a batch without keys of earlier calls: each begins at position 0 or behind its parent.
struct WholeRows {
  int64_t S;
  const int32_t* offsets;  // [S + 1]
  const int32_t* parents;  // [S]; null if no row has one
  int64_t H, G, K, V;
};

// The bytes of a chunk's operands, if it has more than one row.
inline constexpr int64_t kChunkBytes = int64_t{10} << 20;

// Tiles of at most `height` query rows. If there are at most `at_once`, they are one chunk.
std::span<TileOfQueries> query_tiles(Arena& host, const WholeRows& rows, int32_t height, int64_t at_once);
// Tiles of keys, cut at positions that are multiples of kTileKeys. If there are at most `at_once`, they are one chunk, and
// of those behind the first half of `at_once` the shortest begin first: each shares a multiprocessor with a long one.
std::span<TileOfKeys> key_tiles(Arena& host, const WholeRows& rows, int64_t at_once);

}  // namespace r1
