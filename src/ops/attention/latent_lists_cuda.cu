#include <algorithm>
#include <functional>
#include <numeric>

#include "ops/attention/latent_lists_cuda.h"

namespace r1::cuda {
namespace {

constexpr int64_t kSlopeBytes = int64_t{1} << 29;

// The tiles of one row of the batch.
struct RowTiles {
  int32_t first_key, keys, first_query, queries;
};

void cut_row(const AttentionBackward& call, int64_t s, std::span<const RowTiles> before, int64_t H,
             RowTiles& row, LatentLists& lists) {
  const int32_t first = call.offsets[s], tokens = call.offsets[s + 1] - first;
  const int32_t parent = call.parents == nullptr ? -1 : call.parents[s];
  const RowTiles above = parent < 0 ? RowTiles{} : before[static_cast<size_t>(parent)];
  const int32_t prefix = parent < 0 ? 0 : call.offsets[parent + 1] - call.offsets[parent];
  for (int32_t i = 0; i < tokens; ++i) lists.positions[static_cast<size_t>(first + i)] = prefix + i;
  for (int32_t key = prefix, next = 0; key < prefix + tokens; key = next) {
    next = std::min((key / kTileKeys + 1) * kTileKeys, prefix + tokens);
    const auto seen_from = static_cast<int32_t>((key - prefix) * H / kTileQueries);
    lists.keys[static_cast<size_t>(row.first_key + row.keys)] = {
        first + key - prefix, next - key, key, above.keys + row.keys, row.first_query + seen_from, 0};
    ++row.keys;
  }
  for (int64_t r = 0; r < tokens * H; r += kTileQueries) {
    const int64_t rows = std::min<int64_t>(kTileQueries, tokens * H - r);
    const auto last = prefix + static_cast<int32_t>((r + rows - 1) / H);  // position
    int32_t owns = 0;
    while (owns < row.keys && lists.keys[static_cast<size_t>(row.first_key + owns)].key0 <= last) ++owns;
    lists.queries[static_cast<size_t>(row.first_query + row.queries)] = {
        first * H + r, 0, static_cast<int32_t>(rows), above.first_key, above.keys, row.first_key, owns, 0};
    ++row.queries;
  }
}

}  // namespace

LatentLists make_latent_lists(Context& ctx, const AttentionBackward& call) {
  const int64_t T = call.q.dim(0), H = call.q.dim(1);
  const int64_t most_keys = T / kTileKeys + 2 * call.S, most_queries = T * H / kTileQueries + call.S;
  LatentLists lists;
  lists.positions = {ctx.host().array<int32_t>(T), static_cast<size_t>(T)};
  lists.keys = {ctx.host().array<LatentKeyTile>(most_keys), static_cast<size_t>(most_keys)};
  lists.queries = {ctx.host().array<LatentQueryTile>(most_queries), static_cast<size_t>(most_queries)};
  const std::span rows(ctx.host().array<RowTiles>(call.S), static_cast<size_t>(call.S));
  RowTiles at{};
  for (int64_t s = 0; s < call.S; ++s) {
    at = {at.first_key + at.keys, 0, at.first_query + at.queries, 0};
    cut_row(call, s, rows, H, at, lists);
    rows[static_cast<size_t>(s)] = at;
  }
  lists.keys = lists.keys.first(static_cast<size_t>(at.first_key + at.keys));
  lists.queries = lists.queries.first(static_cast<size_t>(at.first_query + at.queries));
  // A key tile is seen by its own row and, if that is a parent, by the whole family.
  for (int64_t s = call.S - 1, family_end = at.first_query + at.queries; s >= 0; --s) {
    const RowTiles& row = rows[static_cast<size_t>(s)];
    const bool child = call.parents != nullptr && call.parents[s] >= 0;
    const int64_t own_end = row.first_query + row.queries;
    for (LatentKeyTile& tile :
         lists.keys.subspan(static_cast<size_t>(row.first_key), static_cast<size_t>(row.keys)))
      tile.end = static_cast<int32_t>(child ? own_end : family_end);
    if (!child) family_end = row.first_query;
  }
  auto* order = ctx.host().array<int32_t>(std::ssize(lists.keys));
  lists.order = {order, lists.keys.size()};
  std::iota(lists.order.begin(), lists.order.end(), 0);
  std::ranges::stable_sort(lists.order, std::greater<>(), [&](int32_t i) {
    const LatentKeyTile& tile = lists.keys[static_cast<size_t>(i)];
    return tile.end - tile.begin;
  });
  auto* blocks = ctx.host().array<SlopeBlock>(std::ssize(lists.queries) + 1);
  size_t count = 0;
  int64_t held = 0;
  for (int i = 0; i < static_cast<int>(lists.queries.size()); ++i) {
    LatentQueryTile& tile = lists.queries[static_cast<size_t>(i)];
    const int64_t tiles = tile.parents + tile.owns;
    if (i == 0 || (held + tiles) * kTileSlopes * 2 > kSlopeBytes) blocks[count++] = {i, i}, held = 0;
    tile.slopes = held;
    held += tiles;
    blocks[count - 1].end = i + 1;
    lists.most_tiles = std::max(lists.most_tiles, held);
  }
  lists.blocks = {blocks, count};
  return lists;
}

}  // namespace r1::cuda
