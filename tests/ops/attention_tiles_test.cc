// tests/ops/attention_tiles_test.cc: tiles cover every query row and every key once, and begin in an order that keeps
// their operands in a cache and leaves short ones for the end.
#include "ops/attention/attention_tiles.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace r1::attention_tiles_test {
namespace {

struct Case {
  std::string name;
  std::vector<int32_t> lengths, parents;  // no parents: rows are whole
  int64_t H, G, K, V;
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> out{0};
    for (const int32_t n : lengths) out.push_back(out.back() + n);
    return out;
  }
  int32_t parent(size_t s) const { return parents.empty() ? -1 : parents[s]; }
};

std::vector<Case> cases() {
  std::vector<Case> out{{"one token", {1}, {}, 1, 1, 64, 64},
                        {"ragged", {90, 70, 330, 33, 600, 129, 1}, {}, 6, 2, 64, 64},
                        {"families", {90, 70, 330, 33, 600, 129, 1}, {-1, 0, 0, -1, 3, 3, -1}, 6, 2, 64, 64},
                        {"an empty row", {10, 0, 65}, {}, 40, 2, 16, 8},
                        {"many rows", std::vector<int32_t>(24, 1024), {}, 12, 12, 64, 64}};
  Case grpo{"groups of samples", {}, {}, 9, 3, 64, 64};
  for (int family = 0; family < 6; ++family) {
    const auto parent = static_cast<int32_t>(grpo.lengths.size());
    grpo.lengths.push_back(200 + family);
    grpo.parents.push_back(-1);
    for (int child = 0; child < 16; ++child)
      grpo.lengths.push_back(240 + child), grpo.parents.push_back(parent);
  }
  out.push_back(grpo);
  return out;
}

// Row of the batch that has this token.
size_t row_of(const std::vector<int32_t>& offsets, int32_t token) {
  size_t s = 0;
  while (offsets[s + 1] <= token) ++s;
  return s;
}

struct Lists {
  explicit Lists(const Case& c) : offsets(c.offsets()) {
    rows = {static_cast<int64_t>(c.lengths.size()),
            offsets.data(),
            c.parents.empty() ? nullptr : c.parents.data(),
            c.H,
            c.G,
            c.K,
            c.V};
  }
  std::vector<int32_t> offsets;
  WholeRows rows{};
  Arena host;
};

TEST(AttentionTiles, EveryQueryRowIsInOneTile) {
  for (const Case& c : cases()) {
    for (const int32_t height : {64, 128}) {
      for (const int64_t at_once : {0, 264, 1 << 20}) {
        Lists lists(c);
        const auto heads = static_cast<int32_t>(c.H / c.G);
        std::map<std::pair<int32_t, int32_t>, std::vector<int>> seen;  // (first, g) -> times per row
        for (size_t s = 0; s < c.lengths.size(); ++s)
          for (int32_t g = 0; g < c.G && c.lengths[s] > 0; ++g)
            seen[{lists.offsets[s], g}].assign(static_cast<size_t>(c.lengths[s] * heads), 0);
        for (const TileOfQueries& t : query_tiles(lists.host, lists.rows, height, at_once)) {
          ASSERT_TRUE(t.rows > 0 && t.rows <= height && t.row % height == 0) << c.name;
          auto& times = seen.at({t.first, t.g});
          for (int32_t i = 0; i < t.rows; ++i) ++times.at(static_cast<size_t>(t.row + i));
          const size_t s = row_of(lists.offsets, t.first);
          const int32_t parent = c.parent(s);
          EXPECT_EQ(t.prefix, parent < 0 ? 0 : c.lengths[static_cast<size_t>(parent)]) << c.name;
          if (parent >= 0) {
            EXPECT_EQ(t.prefix_first, lists.offsets[static_cast<size_t>(parent)]) << c.name;
          }
        }
        for (const auto& [place, times] : seen)
          for (const int n : times)
            ASSERT_EQ(n, 1) << c.name << " token " << place.first << " group " << place.second;
      }
    }
  }
}

TEST(AttentionTiles, EveryKeyIsInOneTileThatItsWholeFamilyPasses) {
  for (const Case& c : cases()) {
    for (const int64_t at_once : {0, 264, 1 << 20}) {
      Lists lists(c);
      const auto heads = static_cast<int32_t>(c.H / c.G);
      std::map<std::pair<int32_t, int32_t>, int> seen;  // (token, g)
      for (const TileOfKeys& t : key_tiles(lists.host, lists.rows, at_once)) {
        const size_t s = row_of(lists.offsets, t.token);
        const int32_t parent = c.parent(s), prefix = parent < 0 ? 0 : c.lengths[static_cast<size_t>(parent)];
        const int32_t in_row = t.token - lists.offsets[s], position = prefix + in_row;
        EXPECT_EQ(position / kTileKeys, (position + t.keys - 1) / kTileKeys) << c.name;
        EXPECT_EQ(t.query_token, lists.offsets[s]) << c.name;
        EXPECT_EQ(t.begin, in_row * heads) << c.name;
        size_t last = s;
        while (last + 1 < c.lengths.size() && c.parent(last + 1) == static_cast<int32_t>(s)) ++last;
        EXPECT_EQ(t.end, (lists.offsets[last + 1] - lists.offsets[s]) * heads) << c.name;
        for (int32_t i = 0; i < t.keys; ++i) ++seen[{t.token + i, t.g}];
      }
      EXPECT_EQ(static_cast<int64_t>(seen.size()), lists.offsets.back() * c.G) << c.name;
      for (const auto& [place, n] : seen) ASSERT_EQ(n, 1) << c.name << " token " << place.first;
    }
  }
}

// 24 rows of 1,024 tokens with 12 heads: three rows' queries fit in a chunk of 10 MiB.
TEST(AttentionTiles, ChunksFitInACacheAndBeginWithTheirLongest) {
  const Case c = cases()[4];
  Lists lists(c);
  const auto tiles = key_tiles(lists.host, lists.rows, 264);
  const size_t per_chunk = size_t{3} * 12 * 16;
  ASSERT_EQ(tiles.size(), size_t{24} * 12 * 16);
  for (size_t i = 0; i < tiles.size(); ++i) {
    EXPECT_EQ(row_of(lists.offsets, tiles[i].token) / 3, i / per_chunk) << i;
    if (i % per_chunk > 0) {
      EXPECT_GE(tiles[i - 1].end - tiles[i - 1].begin, tiles[i].end - tiles[i].begin) << i;
    }
  }
}

// So few tiles that all begin at once, two on a multiprocessor: the longest beside the shortest.
TEST(AttentionTiles, LongTilesShareAMultiprocessorWithShortOnes) {
  const Case c{"eight rows", std::vector<int32_t>(8, 1024), {}, 12, 2, 128, 128};
  Lists lists(c);
  const int64_t at_once = 264, half = at_once / 2;
  const auto tiles = key_tiles(lists.host, lists.rows, at_once);
  ASSERT_EQ(std::ssize(tiles), 256);
  const auto length = [&](int64_t i) {
    return tiles[static_cast<size_t>(i)].end - tiles[static_cast<size_t>(i)].begin;
  };
  int32_t most = 0;
  for (int64_t i = 0; i + half < std::ssize(tiles); ++i) most = std::max(most, length(i) + length(i + half));
  EXPECT_LE(most, 18 * 64 * 6);  // the mean of two is 17 tiles of 64 tokens
}

}  // namespace
}  // namespace r1::attention_tiles_test
