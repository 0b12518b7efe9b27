// Rows that share a prefix, as samples of one prompt do, give each sequence its own bits, whatever runs
// together.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/ops/attention_util.h"

namespace r1::attention_prefix_test {
namespace {

using namespace test_attention;

// Returns sequences whose first `prefix` tokens are the same, as in samples of one prompt, and a last
// sequence with another prompt.
Data samples(const Shape4& z, int64_t prefix, bool latent, uint64_t seed) {
  Data data(z, {prefix + 40, prefix + 1, prefix + 33, prefix + 9, prefix + 40, prefix + 12, prefix + 3, 50},
            seed);
  const auto share = [&](std::vector<float>& x, int64_t wide) {
    for (int64_t s = 1; s + 1 < data.S(); ++s)
      std::copy_n(x.begin(), prefix * wide, x.begin() + data.offsets[static_cast<size_t>(s)] * wide);
  };
  share(data.q, z.H * z.K);
  share(data.k, z.G * z.K);
  share(data.v, z.G * z.V);
  if (!latent) return data;
  for (int64_t i = 0; i < data.T() * z.G; ++i)
    std::copy_n(data.k.begin() + i * z.K, z.V, data.v.begin() + i * z.V);
  data.values_in_keys = true;
  return data;
}

// Runs the prompt first, then one token of each sample per step. Each sample has its own pages after those of
// the prompt.
class Decoding {
 public:
  Decoding(const Data& data, int64_t prefix, int threads)
      : data_(data),
        prefix_(prefix),
        cache_(data, 9),
        run_(false, threads),
        out_(static_cast<size_t>(data.T() * data.z.H * data.z.V), test::kNaN) {
    run_.ctx.numerics = data.numerics;
  }

  // Returns outputs of the samples' own tokens, and of all tokens of the first and the last sequence.
  std::vector<float> run() {
    step({{0, 0, prefix_, false}});
    step({{data_.S() - 1, 0, 20, false}});
    for (int64_t i = 0; i < 40; ++i) {
      std::vector<Row> rows;
      for (int64_t s = 0; s < data_.S(); ++s) {
        const bool sample = s + 1 < data_.S();
        const int64_t at = (sample ? prefix_ : 20) + i;
        if (at < data_.lengths[static_cast<size_t>(s)]) rows.push_back({s, at, at + 1, sample});
      }
      if (i % 7 == 3 && rows.size() > 2) std::swap(rows[0], rows[rows.size() - 1]);  // not always adjacent
      step(rows);
    }
    return out_;
  }

 private:
  struct Row {
    int64_t s, begin, end;
    bool shares;
  };
  int32_t own_page(int64_t s, int64_t p) const {
    return cache_.order[static_cast<size_t>(s * cache_.max_pages + p)];
  }
  int32_t page(const Row& row, int64_t p) const {
    return row.shares && p < prefix_ / kKeyTile ? prompt_page(p) : own_page(row.s, p);
  }
  // Returns a page of the cache that belongs to no sequence.
  int32_t prompt_page(int64_t p) const {
    return cache_.order[static_cast<size_t>(data_.S() * cache_.max_pages + p)];
  }

  void step(const std::vector<Row>& rows) {
    const Shape4& z = data_.z;
    std::vector<int64_t> tokens, prefixes;
    std::vector<int32_t> positions, offsets{0}, table, tails;
    for (const Row& row : rows) {
      const bool prompt = !row.shares && row.s == 0;
      for (int64_t t = row.begin; t < row.end; ++t) {
        tokens.push_back(data_.offsets[static_cast<size_t>(row.s)] + t);
        positions.push_back(static_cast<int32_t>(t));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      for (int64_t p = 0; p < cache_.max_pages; ++p)
        table.push_back(p * kKeyTile >= row.end ? kNoPage : prompt ? prompt_page(p) : page(row, p));
      prefixes.push_back(row.shares ? prefix_ : 0);
      tails.push_back(row.shares && prefix_ % kKeyTile != 0 ? prompt_page(prefix_ / kKeyTile) : -1);
    }
    const std::vector<int32_t> ids(tokens.size(), 0);
    const ArenaScope scope(run_.arena);
    const int64_t T = std::ssize(tokens), wide = z.H * z.V;
    const Tensor o =
        attention(run_.ctx, Batch{ids, positions, offsets, table, cache_.max_pages, prefixes, tails},
                  cache_.pages, run_.input({T, z.H, z.K}, rows_of(data_.q, z.H * z.K, tokens)),
                  run_.input({T, z.G, z.K}, rows_of(data_.k, z.G * z.K, tokens)),
                  run_.input({T, z.G, z.V}, rows_of(data_.v, z.G * z.V, tokens)), data_.scale);
    for (int64_t i = 0; i < T; ++i)
      std::copy_n(o.f32() + i * wide, wide, out_.begin() + tokens[static_cast<size_t>(i)] * wide);
  }

  const Data& data_;
  int64_t prefix_;
  Cache cache_;
  OpRun run_;
  std::vector<float> out_;
};

// Returns `want` without the prefixes that were not run.
std::vector<float> own_tokens(const Data& data, int64_t prefix, std::vector<float> want) {
  const int64_t wide = data.z.H * data.z.V;
  for (int64_t s = 1; s + 1 < data.S(); ++s) {
    const auto at = want.begin() + data.offsets[static_cast<size_t>(s)] * wide;
    std::fill(at, at + prefix * wide, test::kNaN);
  }
  return want;
}

void expect_bits_of_each_alone(const Shape4& z, bool latent, Numerics numerics = Numerics::cpu_f32) {
  for (const int64_t prefix : {5, 16, 20, 27, 32, 48, 64, 71}) {
    Data data = samples(z, prefix, latent, 60);
    data.numerics = numerics;
    const std::vector<float> want = own_tokens(data, prefix, run_whole(data));
    for (const int threads : {1, 2}) {
      test::expect_same_bits(Decoding(data, prefix, threads).run(), want,
                             z.str() + " prefix " + std::to_string(prefix));
    }
  }
}

TEST(AttentionPrefix, HasTheBitsOfEachSequenceAlone) {
  for (const Shape4& z :
       {Shape4{1, 1, 8, 8}, {4, 2, 32, 32}, {6, 1, 19, 7}, {7, 1, 64, 64}, {14, 1, 33, 20}, {24, 2, 16, 16}})
    expect_bits_of_each_alone(z, false);
}

TEST(AttentionPrefix, OfLatentsToo) {
  for (const Shape4& z :
       {Shape4{4, 1, 80, 64}, {1, 1, 20, 16}, {5, 1, 19, 7}, {16, 1, 48, 32}, {6, 2, 36, 32}})
    expect_bits_of_each_alone(z, true);
}

TEST(AttentionPrefix, WithPagesOfOtherTypesToo) {
  for (const Numerics numerics : {Numerics::cpu_f32_kv_q8, Numerics::cpu_f32_kv_bf16}) {
    for (const Shape4& z : {Shape4{4, 2, 32, 32}, {6, 1, 19, 7}, {14, 1, 33, 20}})
      expect_bits_of_each_alone(z, false, numerics);
    for (const Shape4& z : {Shape4{4, 1, 80, 64}, {5, 1, 19, 7}, {6, 2, 36, 32}})
      expect_bits_of_each_alone(z, true, numerics);
  }
}

TEST(AttentionPrefix, DoesNotDependOnTheInstructionSet) {
  for (const bool latent : {false, true}) {
    const Data data = samples({4, 1, 36, 32}, 20, latent, 61);
    test::expect_one_answer([&](int threads) { return Decoding(data, 20, threads).run(); }, "prefix");
  }
}

TEST(AttentionPrefix, IsChecked) {
  const Shape4 z{2, 1, 4, 4};
  const Data data(z, {40}, 62);
  Cache cache(data, 1);
  OpRun run(false, 1);
  const std::vector<int32_t> ids{0}, positions{20}, offsets{0, 1}, table{0, 1, 2};
  const auto attend = [&](int64_t prefix, int32_t tail) {
    const std::vector<int64_t> prefixes{prefix};
    const std::vector<int32_t> tails{tail};
    attention(run.ctx, Batch{ids, positions, offsets, table, 3, prefixes, tails}, cache.pages,
              run.input({1, 2, 4}, std::vector<float>(8)), run.input({1, 1, 4}, std::vector<float>(4)),
              run.input({1, 1, 4}, std::vector<float>(4)), 1.0f);
  };
  EXPECT_NO_THROW(attend(20, 3));
  EXPECT_THROW(attend(21, 3), BrokenInvariant);   // a new token would lie within the prefix
  EXPECT_THROW(attend(20, -1), BrokenInvariant);  // the prefix ends within a page, but there is no tail
  EXPECT_THROW(attend(0, 3), BrokenInvariant);
}

}  // namespace
}  // namespace r1::attention_prefix_test
