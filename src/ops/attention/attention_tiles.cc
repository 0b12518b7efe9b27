#include "ops/attention/attention_tiles.h"

#include <algorithm>

namespace r1 {
namespace {

constexpr int64_t kElementBytes = 2;

// Where the row of the batch begins, and what lies before it.
struct PlaceOfRow {
  int32_t first, end, prefix_first, prefix, family_end;
};

PlaceOfRow place_of(const WholeRows& rows, int64_t s) {
  const int32_t first = rows.offsets[s], end = rows.offsets[s + 1];
  const int32_t parent = rows.parents == nullptr ? -1 : rows.parents[s];
  const int32_t prefix_first = parent < 0 ? 0 : rows.offsets[parent];
  const int32_t prefix = parent < 0 ? 0 : rows.offsets[parent + 1] - prefix_first;
  int32_t family_end = end;
  for (int64_t next = s + 1; next < rows.S && rows.parents != nullptr && rows.parents[next] == s; ++next)
    family_end = rows.offsets[next + 1];
  return {first, end, prefix_first, prefix, family_end};
}

// Sorts tiles by their lengths in blocks of 64, the longest first.
template <class Tile, class Length>
void sort_longest_first(Arena& host, std::span<Tile> tiles, const Length& length) {
  const auto blocks = [&](const Tile& t) { return (length(t) + 63) / 64; };
  int32_t most = 0;
  for (const Tile& t : tiles) most = std::max(most, blocks(t));
  const ArenaScope scope(host);
  auto* starts = host.array<int32_t>(most + 2);
  std::fill_n(starts, most + 2, 0);
  for (const Tile& t : tiles) ++starts[most - blocks(t) + 1];
  for (int32_t i = 0; i <= most; ++i) starts[i + 1] += starts[i];
  auto* sorted = host.array<Tile>(std::ssize(tiles));
  for (const Tile& t : tiles) sorted[starts[most - blocks(t)]++] = t;
  std::copy_n(sorted, tiles.size(), tiles.data());
}

// Appends the tiles of every row of the batch by append(s, count), and sorts them in chunks; a token has `token_bytes`.
template <class Tile, class Append, class Length>
std::span<Tile> chunks_of_tiles(Arena& host, const WholeRows& rows, int64_t most_tiles, int64_t token_bytes,
                                int64_t at_once, const Append& append, const Length& length) {
  auto* tiles = host.array<Tile>(most_tiles);
  auto* starts = host.array<int64_t>(rows.S + 1);  // the chunks' first tiles
  int64_t count = 0, chunks = 0, bytes = 0;
  for (int64_t s = 0; s < rows.S; ++s) {
    const int64_t here = token_bytes * (rows.offsets[s + 1] - rows.offsets[s]);
    if (chunks == 0 || bytes + here > kChunkBytes) starts[chunks++] = count, bytes = 0;
    bytes += here;
    count = append(tiles, count, s);
  }
  if (count <= at_once) chunks = std::min<int64_t>(chunks, 1);
  starts[chunks] = count;
  for (int64_t c = 0; c < chunks; ++c)
    sort_longest_first(host, std::span(tiles + starts[c], static_cast<size_t>(starts[c + 1] - starts[c])),
                       length);
  return {tiles, static_cast<size_t>(count)};
}

}  // namespace

std::span<TileOfQueries> query_tiles(Arena& host, const WholeRows& rows, int32_t height, int64_t at_once) {
  const int64_t T = rows.S == 0 ? 0 : rows.offsets[rows.S];
  const auto heads = static_cast<int32_t>(rows.H / rows.G);
  const auto append = [&](TileOfQueries* tiles, int64_t count, int64_t s) {
    const PlaceOfRow place = place_of(rows, s);
    const int32_t all = (place.end - place.first) * heads;
    for (int32_t g = 0; g < rows.G; ++g) {
      for (int32_t row = 0; row < all; row += height)
        tiles[count++] = {place.first, row, std::min(height, all - row), g, place.prefix_first, place.prefix};
    }
    return count;
  };
  return chunks_of_tiles<TileOfQueries>(
      host, rows, (T * heads / height + rows.S) * rows.G, rows.G * (rows.K + rows.V) * kElementBytes, at_once,
      append, [&](const TileOfQueries& t) { return t.prefix + (t.row + t.rows - 1) / heads + 1; });
}

std::span<TileOfKeys> key_tiles(Arena& host, const WholeRows& rows, int64_t at_once) {
  const int64_t T = rows.S == 0 ? 0 : rows.offsets[rows.S];
  const auto heads = static_cast<int32_t>(rows.H / rows.G);
  const auto append = [&](TileOfKeys* tiles, int64_t count, int64_t s) {
    const PlaceOfRow place = place_of(rows, s);
    const int32_t end = place.prefix + place.end - place.first;
    for (int32_t key = place.prefix, next = 0; key < end; key = next) {
      next = std::min((key / kTileKeys + 1) * kTileKeys, end);
      for (int32_t g = 0; g < rows.G; ++g)
        tiles[count++] = {
            place.first + key - place.prefix,        next - key, g, place.first, (key - place.prefix) * heads,
            (place.family_end - place.first) * heads};
    }
    return count;
  };
  const std::span<TileOfKeys> tiles = chunks_of_tiles<TileOfKeys>(
      host, rows, (T / kTileKeys + 2 * rows.S) * rows.G, rows.H * (rows.K + rows.V) * kElementBytes, at_once,
      append, [](const TileOfKeys& t) { return t.end - t.begin; });
  const int64_t half = at_once / 2;
  if (std::ssize(tiles) > half && std::ssize(tiles) <= at_once)
    std::reverse(tiles.begin() + half, tiles.end());
  return tiles;
}

}  // namespace r1
