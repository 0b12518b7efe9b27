// tests/ops/attention_util.h: batches for the tests of attention, and ways to run them.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "base/integers.h"
#include "ops/attention/attention.h"
#include "tests/ops/test_util.h"

namespace r1::test_attention {

using test::OpRun;

inline constexpr int32_t kNoPage = 2147480000;

struct Shape4 {
  int64_t H, G, K, V;
  std::string str() const {
    return "H=" + std::to_string(H) + " G=" + std::to_string(G) + " K=" + std::to_string(K) +
           " V=" + std::to_string(V);
  }
};

// Whole sequences, packed: q [T, H, K], k [T, G, K], v [T, G, V].
struct Data {
  Data(const Shape4& shape, std::vector<int64_t> of_lengths, uint64_t seed, double spread = 1.0)
      : z(shape), lengths(std::move(of_lengths)) {
    Random random(seed);
    offsets.push_back(0);
    for (const int64_t n : lengths) offsets.push_back(offsets.back() + static_cast<int32_t>(n));
    q = test::random_normal(random, T() * z.H * z.K, spread);
    k = test::random_normal(random, T() * z.G * z.K, spread);
    v = test::random_normal(random, T() * z.G * z.V);
    d_o = test::random_normal(random, T() * z.H * z.V);
    scale = static_cast<float>(1 / std::sqrt(static_cast<double>(z.K)));
  }
  int64_t T() const { return offsets.back(); }
  int64_t S() const { return static_cast<int64_t>(lengths.size()); }
  int32_t parent(int64_t s) const { return parents.empty() ? -1 : parents[static_cast<size_t>(s)]; }
  // The position of row s's first token.
  int64_t start(int64_t s) const { return parent(s) < 0 ? 0 : lengths[static_cast<size_t>(parent(s))]; }
  Data only(int64_t s) const {  // sequence s alone
    Data one = *this;
    one.lengths = {lengths[static_cast<size_t>(s)]};
    one.offsets = {0, static_cast<int32_t>(one.lengths[0])};
    const auto cut = [&](std::vector<float>& x, int64_t wide) {
      const auto from = x.begin() + offsets[static_cast<size_t>(s)] * wide;
      x = std::vector<float>(from, from + one.lengths[0] * wide);
    };
    cut(one.q, z.H * z.K);
    cut(one.k, z.G * z.K);
    cut(one.v, z.G * z.V);
    cut(one.d_o, z.H * z.V);
    return one;
  }

  Shape4 z;
  std::vector<int64_t> lengths;
  std::vector<int32_t> offsets;
  std::vector<int32_t> parents;  // empty: every row is a whole sequence
  bool values_in_keys = false;   // v is k's first columns, and pages hold it there
  Numerics numerics = Numerics::cpu_f32;
  std::vector<float> q, k, v, d_o;
  float scale = 1;
};

inline std::vector<float> rows_of(const std::vector<float>& x, int64_t wide,
                                  const std::vector<int64_t>& tokens) {
  std::vector<float> out;
  for (const int64_t t : tokens) out.insert(out.end(), x.begin() + t * wide, x.begin() + (t + 1) * wide);
  return out;
}

// Pages in a shuffled order, all NaN until they are written.
struct Cache {
  Cache(const Data& data, uint64_t seed) {
    for (int64_t s = 0; s < data.S(); ++s)
      max_pages =
          std::max(max_pages, ceil_div(data.start(s) + data.lengths[static_cast<size_t>(s)], kKeyTile) + 1);
    pages = {nullptr, row_of(data.numerics).cache, data.z.G, data.z.K, data.z.V, data.values_in_keys};
    const int64_t count = data.S() * max_pages + 3;
    storage.assign(static_cast<size_t>(count) * pages.page_bytes() / sizeof(float), test::kNaN);
    pages.data = storage.data();
    order.resize(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    Random(seed).shuffle(order);
  }
  int64_t max_pages = 1;
  std::vector<float> storage;
  KvPages pages;
  std::vector<int32_t> order;
};

// Runs `data` step by step. step(s, done) returns how many tokens of sequence s come next; if it is 0, its
// row is left out. Returns [T, H, V].
template <class Step>
std::vector<float> run_steps(const Data& data, int threads, uint64_t page_seed, const Step& step) {
  Cache cache(data, page_seed);
  std::vector<float> out(static_cast<size_t>(data.T() * data.z.H * data.z.V), test::kNaN);
  std::vector<int64_t> done(data.lengths.size(), 0);
  OpRun run(false, threads);
  run.ctx.numerics = data.numerics;
  for (bool more = true; more;) {
    more = false;
    const ArenaScope scope(run.arena);
    std::vector<int64_t> tokens;
    std::vector<int32_t> positions, offsets{0}, table;
    for (int64_t s = 0; s < data.S(); ++s) {
      const size_t at = static_cast<size_t>(s);
      const int64_t n = std::min<int64_t>(step(s, done[at]), data.lengths[at] - done[at]);
      if (n <= 0) continue;
      for (int64_t i = 0; i < n; ++i, ++done[at]) {
        tokens.push_back(data.offsets[at] + done[at]);
        positions.push_back(static_cast<int32_t>(done[at]));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      for (int64_t p = 0; p < cache.max_pages; ++p) {
        table.push_back(p * kKeyTile < done[at] ? cache.order[static_cast<size_t>(s * cache.max_pages + p)]
                                                : kNoPage);
      }
    }
    if (tokens.empty()) break;
    more = true;
    const std::vector<int32_t> ids(tokens.size(), 0);
    const Batch batch{ids, positions, offsets, table, cache.max_pages};
    const int64_t T = batch.T();
    const Tensor q = run.input({T, data.z.H, data.z.K}, rows_of(data.q, data.z.H * data.z.K, tokens));
    const Tensor k = run.input({T, data.z.G, data.z.K}, rows_of(data.k, data.z.G * data.z.K, tokens));
    const Tensor v = run.input({T, data.z.G, data.z.V}, rows_of(data.v, data.z.G * data.z.V, tokens));
    {  // memory that the op takes next holds NaN
      const ArenaScope poison(run.arena);
      Tensor junk = run.arena.tensor({1 << 16});
      for (float& x : junk.values()) x = test::kNaN;
    }
    const Tensor o = attention(run.ctx, batch, cache.pages, q, k, v, data.scale);
    const int64_t wide = data.z.H * data.z.V;
    for (int64_t i = 0; i < T; ++i) {
      std::copy_n(o.f32() + i * wide, wide, out.begin() + tokens[static_cast<size_t>(i)] * wide);
    }
  }
  return out;
}

inline std::vector<float> run_whole(const Data& data, int threads = 2, uint64_t page_seed = 1) {
  return run_steps(data, threads, page_seed, [](int64_t, int64_t) { return int64_t{1} << 30; });
}

struct Gradients {
  std::vector<float> out, dq, dk, dv;
  std::vector<float> all() const {
    std::vector<float> x = out;
    for (const auto* part : {&dq, &dk, &dv}) test::append(x, *part);
    return x;
  }
};

// Runs every row whole. With a tape, attention over the same inputs is recorded `times` times (gradients add
// up); without one there are no gradients.
inline Gradients run_batch(const Data& data, int threads, bool tape, int times = 1) {
  Cache cache(data, 5);
  std::vector<int32_t> positions, table, tails;
  std::vector<int64_t> prefixes;
  for (int64_t s = 0; s < data.S() && !data.parents.empty(); ++s) {
    const int64_t start = data.start(s);
    const auto last = static_cast<size_t>(data.parent(s) * cache.max_pages + start / kKeyTile);
    prefixes.push_back(start);
    tails.push_back(start % kKeyTile == 0 ? -1 : cache.order[last]);
  }
  for (int64_t s = 0; s < data.S(); ++s) {
    const int64_t start = data.start(s), n = data.lengths[static_cast<size_t>(s)];
    for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(start + i));
    for (int64_t p = 0; p < cache.max_pages; ++p) {
      const int64_t owner = p < start / kKeyTile ? data.parent(s) : s;  // of the page
      const auto page = static_cast<size_t>(owner * cache.max_pages + p);
      table.push_back(p * kKeyTile < start + n ? cache.order[page] : kNoPage);
    }
  }
  const std::vector<int32_t> ids(positions.size(), 0);
  OpRun run(tape, threads);
  run.ctx.numerics = data.numerics;
  const int64_t T = data.T();
  const Tensor q = run.input({T, data.z.H, data.z.K}, data.q);
  const Tensor k = run.input({T, data.z.G, data.z.K}, data.k);
  const Tensor v = run.input({T, data.z.G, data.z.V}, data.v);
  Gradients g;
  if (tape) {
    run.want(q, &g.dq);
    run.want(k, &g.dk);
    run.want(v, &g.dv);
  }
  Tensor o;
  {
    const std::vector<int32_t> offsets = data.offsets, parents = data.parents;  // gone before the backward
    const Batch batch{ids, positions, offsets, table, cache.max_pages, prefixes, tails, parents};
    for (int i = 0; i < times; ++i) {
      o = attention(run.ctx, batch, cache.pages, q, k, v, data.scale);
      if (tape) run.seed(o, data.d_o);
    }
  }
  g.out = test::to_vector(o);
  std::fill(cache.storage.begin(), cache.storage.end(), test::kNaN);  // pages may have been reused by then
  if (tape) run.backward();
  return g;
}

inline Gradients run_training(const Data& data, int threads = 2) {
  return run_batch(data, threads, true);
}

inline std::vector<double> ref_forward(const Data& data) {
  std::vector<double> o(static_cast<size_t>(data.T() * data.z.H * data.z.V));
  ref::attention(data.q.data(), data.k.data(), data.v.data(), data.offsets.data(), data.S(), data.z.H,
                 data.z.G, data.z.K, data.z.V, static_cast<double>(data.scale), o.data());
  return o;
}

struct RefGradients {
  std::vector<double> dq, dk, dv;
};
inline RefGradients ref_backward(const Data& data) {
  RefGradients g;
  g.dq.resize(data.q.size());
  g.dk.resize(data.k.size());
  g.dv.resize(data.v.size());
  ref::attention_backward(data.q.data(), data.k.data(), data.v.data(), data.d_o.data(), data.offsets.data(),
                          data.S(), data.z.H, data.z.G, data.z.K, data.z.V, static_cast<double>(data.scale),
                          g.dq.data(), g.dk.data(), g.dv.data());
  return g;
}

// G in 1, 2, 3; H / G in 1, 3, 4, 13 (more than a tile of 12 rows); K and V odd, unequal, of several panels.
inline std::vector<Shape4> shapes() {
  return {{1, 1, 1, 1},   {3, 1, 7, 5},   {4, 1, 80, 64},  {2, 2, 33, 31},
          {6, 2, 16, 48}, {3, 3, 19, 65}, {12, 3, 24, 17}, {13, 1, 9, 129}};
}
// Shapes that take every path, for tests that run a batch many times.
inline std::vector<Shape4> few_shapes() {
  return {{4, 1, 80, 64}, {3, 3, 19, 65}, {6, 2, 16, 48}, {13, 1, 9, 33}};
}

}  // namespace r1::test_attention
