// ops/attention/latent_lists_cuda.h: the tiles of the backward of attention over latents, listed on the host. Private to
// this folder.
//
// The tokens of a family follow each other, so that the query tiles which see a key tile are one range. Slopes of a query
// tile lie in tiles of their own, one per key tile that it sees. As many query tiles as have 512 MiB of them are a block.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention/attention_backend.h"

namespace r1::cuda {

inline constexpr int kTileKeys = 64, kTileQueries = 128;
inline constexpr int64_t kTileSlopes = int64_t{kTileKeys} * kTileQueries;  // elements

// Keys [key0, key0 + keys) of a row of the batch, which lie from `token` on. Query tiles [begin, end) see them, and
// each has their slopes at place `ordinal` of its own.
struct LatentKeyTile {
  int32_t token, keys, key0, ordinal;
  int32_t begin, end;
};
// Query rows [at, at + rows) of [T, H], which see key tiles [parent, parent + parents), of their prefix, and
// [own, own + owns). Their slopes begin with tile `slopes` of the block's.
struct LatentQueryTile {
  int64_t at, slopes;
  int32_t rows, parent, parents, own, owns, unused;
};

// Query tiles whose slopes are held at a time.
struct SlopeBlock {
  int first, end;
};
// The batch's lists, made on the host.
struct LatentLists {
  std::span<int32_t> positions, order;
  std::span<LatentKeyTile> keys;
  std::span<LatentQueryTile> queries;
  std::span<SlopeBlock> blocks;
  int64_t most_tiles = 0;  // tiles of slopes in the largest block
};
// The lists lie in the host's arena.
LatentLists make_latent_lists(Context& ctx, const AttentionBackward& call);

}  // namespace r1::cuda
