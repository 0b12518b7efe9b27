// tests/gpu/latent_attention_test.cc: attention of cuda-bf16 over latents is near the reference in double, and a row has
// the same bits alone, in chunks, beside others, behind a shared prefix and in training.
#include <tuple>

#include "ops/attention/latent_attention_cuda.h"
#include "tests/gpu/tensor_attention_case.h"

namespace r1 {
namespace latent_attention_test {
namespace {
using namespace test;
using namespace test_attention;
using namespace test_tensor_attention;

class CudaLatentAttention : public OnDevice {};

// Latents of R columns with a rotary part of P, seen by H heads.
struct Latents {
  int64_t H, R, P;
  Shape4 shape() const { return {H, 1, R + P, R}; }
};

// All widths that kernels are built for, ragged ones, and ones whose rows hold no whole vectors. The last is DeepSeek-V3's.
std::vector<Latents> latent_shapes() {
  return {{1, 4, 0},     {8, 64, 32},   {6, 24, 6},   {8, 128, 32},  {3, 100, 17},
          {16, 128, 64}, {12, 256, 64}, {5, 200, 33}, {16, 512, 64}, {2, 300, 21}};
}

Data latent_data(const Latents& l, const std::vector<int64_t>& lengths, uint64_t seed, double spread = 1.0) {
  Data data = bf16_data(l.shape(), lengths, seed, spread);
  for (int64_t t = 0; t < data.T(); ++t)
    std::copy_n(data.k.begin() + t * data.z.K, data.z.V, data.v.begin() + t * data.z.V);
  data.values_in_keys = true;
  return data;
}

TEST_F(CudaLatentAttention, IsNearTheReferenceForwardAndBackward) {
  for (const Latents& l : latent_shapes()) {
    const Data data = latent_data(l, {1, 7, 64, 100, 300, 33}, 3);
    const Shape4& z = data.z;
    ASSERT_TRUE(cuda::latents_on_tensor_cores(DevicePages(data, 1).pages));
    const auto size = [&](int64_t heads, int64_t width) {
      return static_cast<size_t>(data.T() * heads * width);
    };
    std::vector<double> o(size(z.H, z.V)), dq(size(z.H, z.K)), dk(size(1, z.K)), dv(size(1, z.V));
    const auto scale = static_cast<double>(data.scale);
    ref::attention(data.q.data(), data.k.data(), data.v.data(), data.offsets.data(), data.S(), z.H, 1, z.K,
                   z.V, scale, o.data());
    ref::attention_backward(data.q.data(), data.k.data(), data.v.data(), data.d_o.data(), data.offsets.data(),
                            data.S(), z.H, 1, z.K, z.V, scale, dq.data(), dk.data(), dv.data());
    for (int64_t i = 0; i < data.T() * z.V; ++i)
      dk[static_cast<size_t>(i / z.V * z.K + i % z.V)] += dv[static_cast<size_t>(i)];
    const Trained got = train(data);
    std::printf("%s: out %.1e, dq %.1e, dk and dv %.1e from the reference\n", z.str().c_str(),
                distance_of(got.out, o), distance_of(got.dq, dq), distance_of(got.dk, dk));
    EXPECT_LT(distance_of(got.out, o), 4e-3) << z.str();
    EXPECT_LT(distance_of(got.dq, dq), 8e-3) << z.str();
    EXPECT_LT(distance_of(got.dk, dk), 8e-3) << z.str();
    EXPECT_TRUE(got.dv.empty()) << "the values' gradient is in the keys'";
  }
}

TEST_F(CudaLatentAttention, TakesScoresThatAreFarApart) {
  const Data data = latent_data({8, 128, 32}, {400, 70}, 4, 8.0);
  const Shape4& z = data.z;
  std::vector<double> o(static_cast<size_t>(data.T() * z.H * z.V));
  ref::attention(data.q.data(), data.k.data(), data.v.data(), data.offsets.data(), data.S(), z.H, 1, z.K, z.V,
                 static_cast<double>(data.scale), o.data());
  EXPECT_LT(distance_of(train(data).out, o), 5e-3);
}

TEST_F(CudaLatentAttention, ChunksAndCompanyChangeNoBit) {
  // Scores that are far apart raise the maximum in few blocks, whose weights then differ from 1.
  std::vector<std::pair<Latents, double>> cases;
  for (const Latents& l : latent_shapes()) cases.emplace_back(l, 1.0);
  for (const Latents& l : {Latents{6, 24, 6}, {8, 128, 32}, {16, 512, 64}}) cases.emplace_back(l, 5.0);
  for (const auto& [l, spread] : cases) {
    const Data data = latent_data(l, {90, 70, 330, 33, 600}, 50, spread);
    const std::string name = data.z.str();
    const Numbers trained = train(data).out;
    TensorSteps whole(data, 0), mixed(data, 0);
    for (int64_t s = 0; s < data.S(); ++s) whole.run({{s, 0, data.lengths[static_cast<size_t>(s)]}});
    expect_cpu_bits(whole.all(), trained, name + " alone and in training");
    mixed.run({{0, 0, 40}, {1, 0, 1}, {2, 0, 250}, {4, 0, 500}});
    mixed.run({{2, 250, 310}, {0, 40, 70}, {3, 0, 13}, {1, 1, 50}, {4, 500, 580}});
    for (int64_t i = 0; i < 20; ++i)
      mixed.run({{0, 70 + i, 71 + i},
                 {1, 50 + i, 51 + i},
                 {2, 310 + i, 311 + i},
                 {3, 13 + i, 14 + i},
                 {4, 580 + i, 581 + i}});
    expect_cpu_bits(mixed.all(), trained, name + " in chunks and token by token");
  }
}

// So many rows that each walks its parts alone, and few enough that parts run apart.
TEST_F(CudaLatentAttention, PartsApartAndTogetherHaveTheSameBits) {
  const Data data = latent_data({128, 8, 0}, std::vector<int64_t>(130, 261), 51);
  TensorSteps together(data, 0), apart(data, 0);
  std::vector<TensorStepRow> prompts, last;
  for (int64_t s = 0; s < data.S(); ++s) prompts.push_back({s, 0, 260}), last.push_back({s, 260, 261});
  together.run(prompts);
  together.run(last);
  apart.run(prompts);
  for (int64_t s = 0; s < data.S(); s += 7)
    apart.run({last.begin() + s, last.begin() + std::min<int64_t>(s + 7, data.S())});
  expect_cpu_bits(apart.all(), together.all(), data.z.str());
}

TEST_F(CudaLatentAttention, SharedPrefixesChangeNoBit) {
  for (const Latents& l : {Latents{4, 32, 8}, {6, 19, 5}, {8, 128, 32}, {16, 512, 64}}) {
    for (const int64_t prefix : {5, 27, 64, 71, 300}) {
      Data data = latent_data(l, {prefix, prefix + 40, prefix + 40}, 52);
      const Shape4& z = data.z;
      for (const int64_t s : {1, 2}) {  // they begin with the prompt
        const auto copy = [&](Numbers& x, int64_t wide) {
          std::copy_n(x.begin(), prefix * wide, x.begin() + data.offsets[static_cast<size_t>(s)] * wide);
        };
        copy(data.q, z.H * z.K);
        copy(data.k, z.K);
        copy(data.v, z.V);
      }
      TensorSteps alone(data, 0), shared(data, prefix);
      for (int64_t s = 0; s < 3; ++s) alone.run({{s, 0, data.lengths[static_cast<size_t>(s)]}});
      shared.run({{0, 0, prefix}});
      shared.run({{1, prefix, prefix + 3, true}, {2, prefix, prefix + 1, true}});
      for (int64_t i = 3; i < 40; ++i)
        shared.run({{1, prefix + i, prefix + i + 1, true}, {2, prefix + i - 2, prefix + i - 1, true}});
      shared.run({{2, prefix + 38, prefix + 40, true}});
      for (int64_t s = 1; s < 3; ++s) {
        const Numbers want = alone.output(s), got = shared.output(s);
        const auto from = static_cast<int64_t>(prefix * z.H * z.V);
        expect_cpu_bits({got.begin() + from, got.end()}, {want.begin() + from, want.end()},
                        z.str() + " behind " + std::to_string(prefix));
      }
    }
  }
}

// Rows [first, end) of the data, which are whole families.
Data family_of(const Data& data, int64_t first, int64_t end) {
  Data part = data;
  part.lengths = {data.lengths.begin() + first, data.lengths.begin() + end};
  part.offsets = {0};
  part.parents.clear();
  for (int64_t s = first; s < end; ++s) {
    part.offsets.push_back(part.offsets.back() + static_cast<int32_t>(data.lengths[static_cast<size_t>(s)]));
    if (!data.parents.empty())
      part.parents.push_back(data.parent(s) < 0 ? -1 : data.parent(s) - static_cast<int32_t>(first));
  }
  const int64_t from = data.offsets[static_cast<size_t>(first)], to = data.offsets[static_cast<size_t>(end)];
  const auto cut = [&](Numbers& x, int64_t wide) {
    x = Numbers(x.begin() + from * wide, x.begin() + to * wide);
  };
  cut(part.q, data.z.H * data.z.K);
  cut(part.k, data.z.K);
  cut(part.v, data.z.V);
  cut(part.d_o, data.z.H * data.z.V);
  return part;
}

// The rows [first, end) have the same bits alone as in `all`.
void expect_family_alone(const Data& data, const Trained& all, int64_t first, int64_t end) {
  const Shape4& z = data.z;
  const int64_t from = data.offsets[static_cast<size_t>(first)], to = data.offsets[static_cast<size_t>(end)];
  const Trained own = train(family_of(data, first, end));
  const auto same = [&](const Numbers& mine, const Numbers& of_all, int64_t wide, const char* what) {
    expect_cpu_bits(mine, {of_all.begin() + from * wide, of_all.begin() + to * wide}, z.str() + " " + what);
  };
  same(own.out, all.out, z.H * z.V, "out");
  same(own.dq, all.dq, z.H * z.K, "dq");
  same(own.dk, all.dk, z.K, "dk");
}

// Families: the gradients of a family do not depend on the families beside it; and twice is twice.
TEST_F(CudaLatentAttention, FamiliesHaveTheirBitsAloneAndTogether) {
  for (const Latents& l : {Latents{6, 12, 5}, {8, 128, 32}, {3, 256, 64}, {16, 512, 64}}) {
    Data data = latent_data(l, {70, 20, 90, 33, 31, 1, 40}, 53);
    data.parents = {-1, 0, 0, -1, 3, 3, -1};
    const Trained all = train(data), again = train(data, 17);
    expect_cpu_bits(again.out, all.out, "other pages");
    expect_cpu_bits(again.dk, all.dk, "other pages, dk");
    expect_family_alone(data, all, 0, 3);
    expect_family_alone(data, all, 3, 6);
    expect_family_alone(data, all, 6, 7);
    const Trained twice = train(data, 5, 2);
    for (size_t i = 0; i < all.dk.size(); ++i) ASSERT_EQ(twice.dk[i], all.dk[i] + all.dk[i]) << i;
    for (size_t i = 0; i < all.dq.size(); ++i) ASSERT_EQ(twice.dq[i], all.dq[i] + all.dq[i]) << i;
  }
}

// A family is near whole rows that repeat the prompt: outputs to the bit, and the gradient of the prompt's keys is the
// rows' sum.
TEST_F(CudaLatentAttention, FamiliesAreTheirWholeRows) {
  for (const Latents& l : {Latents{6, 12, 5}, {8, 128, 32}, {16, 512, 64}}) {
    Data family = latent_data(l, {70, 20, 290}, 54, 3.0);
    family.parents = {-1, 0, 0};
    Data whole = latent_data(l, {90, 360}, 55);
    const Shape4& z = family.z;
    const auto fill = [&](Numbers& to, const Numbers& from, int64_t wide, bool own_alone) {
      for (const auto& [row, first, n] : {std::tuple<int64_t, int64_t, int64_t>{0, 70, 20},
                                          std::tuple<int64_t, int64_t, int64_t>{90, 90, 290}}) {
        std::copy_n(from.begin(), 70 * wide, to.begin() + row * wide);
        if (own_alone && row > 0) std::fill_n(to.begin() + row * wide, 70 * wide, 0.0f);
        std::copy_n(from.begin() + first * wide, n * wide, to.begin() + (row + 70) * wide);
      }
    };
    fill(whole.q, family.q, z.H * z.K, false);
    fill(whole.k, family.k, z.K, false);
    fill(whole.v, family.v, z.V, false);
    fill(whole.d_o, family.d_o, z.H * z.V, true);  // the prompt's own gradient counts once
    const Trained got = train(family), rows = train(whole);
    const auto part = [](const Numbers& x, int64_t from, int64_t n, int64_t wide) {
      return Numbers(x.begin() + from * wide, x.begin() + (from + n) * wide);
    };
    const int64_t out = z.H * z.V;
    expect_cpu_bits(part(got.out, 0, 90, out), part(rows.out, 0, 90, out), z.str() + " first");
    expect_cpu_bits(part(got.out, 90, 290, out), part(rows.out, 160, 290, out), z.str() + " second");
    Numbers total = part(rows.dk, 0, 70, z.K);
    for (size_t i = 0; i < total.size(); ++i) total[i] += rows.dk[static_cast<size_t>(90 * z.K) + i];
    EXPECT_LT(distance_of(part(got.dk, 0, 70, z.K), total), 8e-3) << z.str();
    EXPECT_LT(distance_of(part(got.dq, 70, 20, z.H * z.K), part(rows.dq, 70, 20, z.H * z.K)), 8e-3)
        << z.str();
  }
}

// So many query rows that their slopes are held in two blocks, between which the sums of keys wait; each row alone has
// one block.
TEST_F(CudaLatentAttention, BlocksOfSlopesChangeNoBit) {
  const Data data = latent_data({32, 8, 0}, {3000, 3000}, 56);
  const Trained all = train(data);
  expect_family_alone(data, all, 0, 1);
  expect_family_alone(data, all, 1, 2);
  const Trained twice = train(data, 5, 2);
  for (size_t i = 0; i < all.dk.size(); ++i) ASSERT_EQ(twice.dk[i], all.dk[i] + all.dk[i]) << i;
}

}  // namespace
}  // namespace latent_attention_test
}  // namespace r1
