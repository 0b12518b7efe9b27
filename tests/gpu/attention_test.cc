// tests/gpu/attention_test.cc: attention on the device has cpu-f32's bits: training over families of rows,
// prefill in chunks, decoding with shared prefixes, plain pages and those of latents, and blocks of scores.
#include "ops/attention/attention.h"

#include "tests/gpu/device_run.h"
#include "tests/ops/attention_util.h"

namespace r1 {
namespace {
using namespace test;
using namespace test_attention;

class CudaAttention : public OnDevice {};

using Results = std::vector<std::vector<float>>;

// The pages of `cache` in the memory of the run.
struct PlacedPages {
  PlacedPages(Memory& place, const Cache& cache)
      : memory(place), storage({1, 1, std::ssize(cache.storage)}, DType::f32, place), pages(cache.pages) {
    fill(cache.storage);
    pages.data = storage.tensor().data;
  }
  void fill(const std::vector<float>& values) {
    memory.write(storage.tensor().data, values.data(), values.size() * sizeof(float));
  }
  Memory& memory;
  Buffer storage;
  KvPages pages;
};

// Makes v the first columns of k, as latents have it.
void make_latent(Data& data) {
  for (int64_t i = 0; i < data.T() * data.z.G; ++i)
    std::copy_n(data.k.begin() + i * data.z.K, data.z.V, data.v.begin() + i * data.z.V);
  data.values_in_keys = true;
}

// The lists of a batch of whole rows.
struct WholeRows {
  WholeRows(const Data& data, const Cache& cache) : offsets(data.offsets), parents(data.parents) {
    max_pages = cache.max_pages;
    for (int64_t s = 0; s < data.S(); ++s) {
      const int64_t start = data.start(s), n = data.lengths[static_cast<size_t>(s)];
      const auto last = static_cast<size_t>(data.parent(s) * max_pages + start / kKeyTile);
      if (!parents.empty()) {
        prefixes.push_back(start);
        tails.push_back(start % kKeyTile == 0 ? -1 : cache.order[last]);
      }
      for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(start + i));
      for (int64_t p = 0; p < max_pages; ++p) {
        const int64_t owner = p < start / kKeyTile ? data.parent(s) : s;  // of the page
        const auto page = static_cast<size_t>(owner * max_pages + p);
        table.push_back(p * kKeyTile < start + n ? cache.order[page] : kNoPage);
      }
    }
    ids.assign(positions.size(), 0);
  }
  Batch view() const { return {ids, positions, offsets, table, max_pages, prefixes, tails, parents}; }
  std::vector<int32_t> ids, positions, offsets, table, tails, parents;
  std::vector<int64_t> prefixes;
  int64_t max_pages = 0;
};

// Output and gradients of whole rows. Attention over the same inputs is recorded `times` times.
void compare_training(const Data& data, int times, const std::string& what) {
  expect_both_agree(
      [&](auto& r) -> Results {
        const Cache cache(data, 5);
        PlacedPages pages(r.ctx.memory(), cache);
        const int64_t T = data.T();
        const Tensor q = r.input({T, data.z.H, data.z.K}, data.q),
                     k = r.input({T, data.z.G, data.z.K}, data.k),
                     v = r.input({T, data.z.G, data.z.V}, data.v);
        std::vector<float> dq, dk, dv;
        r.want(q, &dq);
        r.want(k, &dk);
        r.want(v, &dv);
        Results out;
        const WholeRows rows(data, cache);
        poison(r);
        for (int i = 0; i < times; ++i) {
          const Tensor o = attention(r.ctx, rows.view(), pages.pages, q, k, v, data.scale);
          out.push_back(i == 0 ? guarded_values(r, o) : values(r, o));
          r.seed(o, data.d_o);
        }
        pages.fill(cache.storage);  // pages may have been reused by then
        r.backward();
        out.insert(out.end(), {dq, dk, dv});
        return out;
      },
      data.z.str() + " " + what);
}

Data family_data(const Shape4& z, uint64_t seed) {
  // A parent of `first` tokens, then its children; parents without children are plain rows.
  const std::vector<std::pair<int64_t, std::vector<int64_t>>> list = {
      {5, {3, 1, 40}}, {17, {}}, {32, {1, 33, 64, 2}}, {70, {20, 90}}, {33, {31}}, {1, {1, 1}}};
  std::vector<int64_t> lengths;
  std::vector<int32_t> parents;
  for (const auto& [first, children] : list) {
    const auto parent = static_cast<int32_t>(lengths.size());
    lengths.push_back(first);
    parents.push_back(-1);
    for (const int64_t n : children) lengths.push_back(n), parents.push_back(parent);
  }
  Data data(z, lengths, seed);
  data.parents = parents;
  return data;
}

TEST_F(CudaAttention, TrainsRowsWithTheBitsOfTheCpu) {
  for (const Shape4& z : shapes()) {
    compare_training(Data(z, {1, 7, 33, 100, 64, 3}, 41), 1, "rows");
    compare_training(Data(z, {40, 5}, 42), 2, "rows, twice");
  }
}

TEST_F(CudaAttention, TrainsFamiliesWithTheBitsOfTheCpu) {
  for (const Shape4& z : few_shapes()) {
    compare_training(family_data(z, 43), 1, "families");
    compare_training(family_data(z, 44), 2, "families, twice");
  }
}

TEST_F(CudaAttention, TrainsLatentsWithTheBitsOfTheCpu) {
  for (const Shape4& z : {Shape4{4, 1, 80, 64}, {16, 1, 48, 32}, {5, 1, 19, 7}, {3, 1, 576, 512}}) {
    Data rows(z, {1, 7, 33, 100}, 45), families = family_data(z, 46);
    make_latent(rows);
    make_latent(families);
    compare_training(rows, 1, "latents");
    compare_training(families, 2, "latents of families");
  }
}

// Scores that are far apart, equal, and with denormal weights: the sign of a zero is part of the bits.
TEST_F(CudaAttention, KeepsTheSignsOfZeros) {
  Data data({6, 2, 16, 20}, {70, 35}, 47, 12.0);
  for (size_t i = 0; i < data.v.size(); i += 3) data.v[i] = -1e-38f;
  for (size_t i = 0; i < data.d_o.size(); i += 5) data.d_o[i] = i % 2 == 0 ? 0.0f : -0.0f;
  for (size_t i = 0; i < data.k.size(); i += 7) data.k[i] = -0.0f;
  compare_training(data, 1, "zeros");
}

// More scores than are held at a time: several blocks, whose chains go on.
TEST_F(CudaAttention, BlocksOfScoresChangeNoBit) {
  compare_training(Data({8, 2, 8, 8}, {4100, 300}, 48), 1, "blocks");
  Data family({8, 2, 8, 8}, {3000, 700, 900}, 49);
  family.parents = {-1, 0, 0};
  compare_training(family, 2, "blocks of a family");
}

// One side of a comparison of decoding: a run and its pages.
template <class Run>
struct Side {
  Side(const Cache& cache) : run(false), pages(run.ctx.memory(), cache) {}
  std::vector<float> step(const Data& data, const Batch& batch, const std::vector<int64_t>& tokens) {
    const OpScope scope(run.ctx);
    const int64_t T = batch.T();
    const auto& z = data.z;
    const Tensor q = run.input({T, z.H, z.K}, rows_of(data.q, z.H * z.K, tokens)),
                 k = run.input({T, z.G, z.K}, rows_of(data.k, z.G * z.K, tokens)),
                 v = run.input({T, z.G, z.V}, rows_of(data.v, z.G * z.V, tokens));
    poison(run, size_t{1} << 18);
    return guarded_values(run, attention(run.ctx, batch, pages.pages, q, k, v, data.scale));
  }
  Run run;
  PlacedPages pages;
};

// Tokens [begin, end) of sequence s. Those of sequences below `sharing` lie behind a common prompt, whose
// keys sequence 0 has written into pages of its own.
struct StepRow {
  int64_t s, begin, end;
  bool shares = false;
};

class Steps {
 public:
  Steps(const Data& data, int64_t prefix)
      : data_(data), prefix_(prefix), cache_(data, 9), cpu_(cache_), device_(cache_) {}

  void run(const std::vector<StepRow>& rows, const std::string& what) {
    std::vector<int64_t> tokens, prefixes;
    std::vector<int32_t> positions, offsets{0}, table, tails;
    for (const StepRow& row : rows) {
      for (int64_t t = row.begin; t < row.end; ++t) {
        tokens.push_back(data_.offsets[static_cast<size_t>(row.s)] + t);
        positions.push_back(static_cast<int32_t>(t));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      for (int64_t p = 0; p < cache_.max_pages; ++p) {
        const int64_t owner = row.shares && p < prefix_ / kKeyTile ? 0 : row.s;
        table.push_back(p * kKeyTile >= row.end ? kNoPage : page(owner, p));
      }
      prefixes.push_back(row.shares ? prefix_ : 0);
      tails.push_back(row.shares && prefix_ % kKeyTile != 0 ? page(0, prefix_ / kKeyTile) : -1);
    }
    const std::vector<int32_t> ids(tokens.size(), 0);
    Batch batch{ids, positions, offsets, table, cache_.max_pages};
    if (prefix_ > 0) batch.prefixes = prefixes, batch.tails = tails;
    expect_cpu_bits(device_.step(data_, batch, tokens), cpu_.step(data_, batch, tokens),
                    data_.z.str() + " " + what);
  }

 private:
  int32_t page(int64_t s, int64_t p) const {
    return cache_.order[static_cast<size_t>(s * cache_.max_pages + p)];
  }
  const Data& data_;
  int64_t prefix_;
  Cache cache_;
  Side<OpRun> cpu_;
  Side<DeviceRun> device_;
};

TEST_F(CudaAttention, PrefillsInChunksAndDecodes) {
  for (const bool latent : {false, true}) {
    for (const Shape4& z :
         {Shape4{1, 1, 8, 8}, {6, 2, 36, 32}, {4, 1, 80, 64}, {13, 1, 33, 20}, {40, 1, 20, 16}}) {
      Data data(z, {90, 70, 130, 33}, 50);
      if (latent) make_latent(data);
      Steps steps(data, 0);
      steps.run({{0, 0, 40}, {1, 0, 1}, {2, 0, 33}}, "first chunk");
      steps.run({{2, 33, 70}, {0, 40, 41}, {3, 0, 5}, {1, 1, 30}}, "second chunk");
      for (int64_t i = 0; i < 20; ++i)
        steps.run({{0, 41 + i, 42 + i}, {1, 30 + i, 31 + i}, {2, 70 + i, 71 + i}, {3, 5 + i, 6 + i}},
                  "decoding");
    }
  }
}

TEST_F(CudaAttention, SharesPrefixes) {
  for (const bool latent : {false, true}) {
    for (const Shape4& z : {Shape4{4, 2, 32, 32}, {6, 1, 19, 7}, {14, 1, 33, 20}}) {
      for (const int64_t prefix : {5, 27, 32, 71}) {
        // Sequence 0 is the prompt, and sequence 4 another one.
        Data data(z, {prefix, prefix + 40, prefix + 40, prefix + 40, 60}, 51);
        if (latent) make_latent(data);
        Steps steps(data, prefix);
        steps.run({{0, 0, prefix}, {4, 0, 20}}, "prompt");
        for (int64_t i = 0; i < 36; i += 3) {
          const int64_t n = i % 2 + 1;
          steps.run({{1, prefix + i, prefix + i + 1, true},
                     {2, prefix + i, prefix + i + n, true},
                     {4, 20 + i, 21 + i},
                     {3, prefix + i, prefix + i + 1, true}},
                    "samples");
          steps.run({{1, prefix + i + 1, prefix + i + 3, true},
                     {2, prefix + i + n, prefix + i + 3, true},
                     {3, prefix + i + 1, prefix + i + 3, true},
                     {4, 21 + i, 23 + i}},
                    "samples, more tokens");
        }
      }
    }
  }
}

}  // namespace
}  // namespace r1
