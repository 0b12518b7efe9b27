// tests/gpu/tensor_attention_test.cc: attention of cuda-bf16 on tensor cores is near the reference in double, and a
// row has the same bits alone, in chunks, beside others, behind a shared prefix and in training.
#include <tuple>

#include "tests/gpu/tensor_attention_case.h"

namespace r1 {
namespace tensor_attention_test {
namespace {
using namespace test;
using namespace test_attention;
using namespace test_tensor_attention;

class CudaTensorAttention : public OnDevice {};

// All widths that kernels are built for, ragged ones, and ones whose rows hold no whole vectors.
std::vector<Shape4> tensor_shapes() {
  return {{1, 1, 4, 4},   {4, 4, 32, 32}, {6, 2, 12, 20},   {12, 2, 128, 128}, {14, 2, 64, 64},
          {5, 1, 30, 24}, {3, 3, 64, 33}, {16, 1, 96, 128}, {40, 2, 16, 8},    {8, 8, 128, 64},
          {3, 1, 16, 16}, {9, 1, 48, 80}, {18, 2, 32, 16}};
}

std::vector<std::pair<Shape4, double>> shapes_and_spreads() {
  std::vector<std::pair<Shape4, double>> out;
  for (const Shape4& z : tensor_shapes()) out.emplace_back(z, 1.0);
  for (const Shape4& z : {Shape4{6, 2, 12, 20}, {12, 2, 128, 128}, {3, 3, 64, 33}}) out.emplace_back(z, 5.0);
  return out;
}

TEST_F(CudaTensorAttention, IsNearTheReferenceForwardAndBackward) {
  for (const Shape4& z : tensor_shapes()) {
    const Data data = bf16_data(z, {1, 7, 64, 100, 300, 33}, 3);
    const auto size = [&](int64_t heads, int64_t width) {
      return static_cast<size_t>(data.T() * heads * width);
    };
    std::vector<double> o(size(z.H, z.V)), dq(size(z.H, z.K)), dk(size(z.G, z.K)), dv(size(z.G, z.V));
    ref::attention(data.q.data(), data.k.data(), data.v.data(), data.offsets.data(), data.S(), z.H, z.G, z.K,
                   z.V, static_cast<double>(data.scale), o.data());
    ref::attention_backward(data.q.data(), data.k.data(), data.v.data(), data.d_o.data(), data.offsets.data(),
                            data.S(), z.H, z.G, z.K, z.V, static_cast<double>(data.scale), dq.data(),
                            dk.data(), dv.data());
    const Trained got = train(data);
    std::printf("%s: out %.1e, dq %.1e, dk %.1e, dv %.1e from the reference\n", z.str().c_str(),
                distance_of(got.out, o), distance_of(got.dq, dq), distance_of(got.dk, dk),
                distance_of(got.dv, dv));
    EXPECT_LT(distance_of(got.out, o), 4e-3) << z.str();
    EXPECT_LT(distance_of(got.dq, dq), 8e-3) << z.str();
    EXPECT_LT(distance_of(got.dk, dk), 8e-3) << z.str();
    EXPECT_LT(distance_of(got.dv, dv), 8e-3) << z.str();
  }
}

TEST_F(CudaTensorAttention, TakesScoresThatAreFarApart) {
  const Shape4 z{6, 2, 64, 64};
  const Data data = bf16_data(z, {400, 70}, 4, 8.0);
  std::vector<double> o(static_cast<size_t>(data.T() * z.H * z.V));
  ref::attention(data.q.data(), data.k.data(), data.v.data(), data.offsets.data(), data.S(), z.H, z.G, z.K,
                 z.V, static_cast<double>(data.scale), o.data());
  EXPECT_LT(distance_of(train(data).out, o), 5e-3);
}

TEST_F(CudaTensorAttention, ChunksAndCompanyChangeNoBit) {
  // Scores that are far apart raise the maximum in few blocks, whose weights then differ from 1.
  for (const auto& [z, spread] : shapes_and_spreads()) {
    const Data data = bf16_data(z, {90, 70, 330, 33, 600}, 50, spread);
    const Numbers trained = train(data).out;
    TensorSteps whole(data, 0), mixed(data, 0);
    for (int64_t s = 0; s < data.S(); ++s) whole.run({{s, 0, data.lengths[static_cast<size_t>(s)]}});
    expect_cpu_bits(whole.all(), trained, z.str() + " alone and in training");
    mixed.run({{0, 0, 40}, {1, 0, 1}, {2, 0, 250}, {4, 0, 500}});
    mixed.run({{2, 250, 310}, {0, 40, 70}, {3, 0, 13}, {1, 1, 50}, {4, 500, 580}});
    for (int64_t i = 0; i < 20; ++i)
      mixed.run({{0, 70 + i, 71 + i},
                 {1, 50 + i, 51 + i},
                 {2, 310 + i, 311 + i},
                 {3, 13 + i, 14 + i},
                 {4, 580 + i, 581 + i}});
    expect_cpu_bits(mixed.all(), trained, z.str() + " in chunks and token by token");
  }
}

// Operands that do not begin at 16 bytes are no matter for wgmma: on a Hopper GPU two kernels are compared, which have to
// agree whatever the widths, the heads of a group, and the rows of a family.
TEST_F(CudaTensorAttention, KernelsAgreeForwardAndBackward) {
  for (const Shape4& z : {Shape4{6, 2, 64, 64},
                          {3, 3, 64, 32},
                          {12, 2, 128, 128},
                          {5, 1, 96, 128},
                          {2, 2, 128, 64},
                          {40, 2, 16, 8}}) {
    for (const bool families : {false, true}) {
      for (const double spread : {1.0, 5.0}) {
        Data data = bf16_data(z, {90, 70, 330, 33, 600, 129, 1}, 57, spread);
        if (families) data.parents = {-1, 0, 0, -1, 3, 3, -1};
        const Trained usual = train(data), aside = train(data, 5, 1, 3);
        const std::string what = z.str() + (families ? " families" : "");
        expect_cpu_bits(usual.out, aside.out, what + " out");
        expect_cpu_bits(usual.dq, aside.dq, what + " dq");
        expect_cpu_bits(usual.dk, aside.dk, what + " dk");
        expect_cpu_bits(usual.dv, aside.dv, what + " dv");
      }
    }
  }
}

// A value that is not a number stays in its row.
TEST_F(CudaTensorAttention, RowsBesideNotANumberKeepTheirBits) {
  for (const Shape4& z : {Shape4{6, 2, 64, 64}, {12, 2, 128, 128}}) {
    Data data = bf16_data(z, {200, 150, 77}, 58);
    const Trained clean = train(data);
    std::fill(data.q.begin() + 200 * z.H * z.K, data.q.begin() + 350 * z.H * z.K, kNaN);
    std::fill(data.k.begin() + 200 * z.G * z.K, data.k.begin() + 350 * z.G * z.K, kNaN);
    std::fill(data.v.begin() + 200 * z.G * z.V, data.v.begin() + 350 * z.G * z.V, kNaN);
    const Trained spoilt = train(data);
    const auto same = [&](const Numbers& x, const Numbers& y, int64_t wide, const char* what) {
      for (const auto& [from, n] : {std::pair<int64_t, int64_t>{0, 200}, {350, 77}})
        expect_cpu_bits({x.begin() + from * wide, x.begin() + (from + n) * wide},
                        {y.begin() + from * wide, y.begin() + (from + n) * wide}, z.str() + what);
    };
    same(spoilt.out, clean.out, z.H * z.V, " out");
    same(spoilt.dq, clean.dq, z.H * z.K, " dq");
    same(spoilt.dk, clean.dk, z.G * z.K, " dk");
    same(spoilt.dv, clean.dv, z.G * z.V, " dv");
  }
}

// So many rows that each walks its parts alone, or has blocks of two warps, and few enough that parts run apart, or
// blocks have four warps.
TEST_F(CudaTensorAttention, PartsApartAndTogetherHaveTheSameBits) {
  struct Case {
    Shape4 z;
    int64_t rows, length;
  };
  for (const auto& [z, rows, length] : {Case{{8, 8, 6, 4}, 130, 261}, Case{{8, 8, 48, 16}, 85, 261},
                                        Case{{8, 8, 64, 64}, 85, 75}, Case{{8, 8, 128, 128}, 70, 90}}) {
    const Data data = bf16_data(z, std::vector<int64_t>(static_cast<size_t>(rows), length), 51);
    TensorSteps together(data, 0), apart(data, 0);
    std::vector<TensorStepRow> prompts, last;
    for (int64_t s = 0; s < rows; ++s)
      prompts.push_back({s, 0, length - 1}), last.push_back({s, length - 1, length});
    together.run(prompts);
    together.run(last);
    apart.run(prompts);
    for (int64_t s = 0; s < rows; s += 13)
      apart.run({last.begin() + s, last.begin() + std::min<int64_t>(s + 13, rows)});
    expect_cpu_bits(apart.all(), together.all(), z.str() + " parts");
  }
}

// Tables for so many parts that rows go in several launches.
TEST_F(CudaTensorAttention, RowsInSeveralLaunchesHaveTheSameBits) {
  for (const Shape4& z : {Shape4{12, 2, 128, 128}, {6, 2, 30, 24}}) {
    const Data data = bf16_data(z, std::vector<int64_t>(23, 270), 56);
    TensorSteps once(data, 0), cut(data, 0, 8192);
    for (TensorSteps* steps : {&once, &cut}) {
      std::vector<TensorStepRow> prompts;
      for (int64_t s = 0; s < data.S(); ++s) prompts.push_back({s, 0, 230 + s});
      steps->run(prompts);
      for (int64_t i = 0; i < 10; ++i) {
        std::vector<TensorStepRow> rows;
        for (int64_t s = 0; s < data.S(); ++s) rows.push_back({s, 230 + s + i, 231 + s + i});
        steps->run(rows);
      }
    }
    for (int64_t s = 0; s < data.S(); ++s) {
      const auto end = static_cast<int64_t>((240 + s) * z.H * z.V);
      const Numbers got = cut.output(s), want = once.output(s);
      expect_cpu_bits({got.begin(), got.begin() + end}, {want.begin(), want.begin() + end}, z.str());
    }
  }
}

TEST_F(CudaTensorAttention, SharedPrefixesChangeNoBit) {
  // The last two shapes have so many groups that blocks have two warps.
  for (const Shape4& z : {Shape4{4, 2, 32, 32},
                          {6, 1, 19, 7},
                          {9, 3, 64, 64},
                          {12, 2, 128, 128},
                          {340, 340, 48, 16},
                          {270, 270, 80, 16}}) {
    for (const int64_t prefix : {5, 27, 64, 71, 94, 300}) {
      if (z.G > 200 && prefix != 27) continue;
      Data data = bf16_data(z, {prefix, prefix + 40, prefix + 40}, 52);
      for (const int64_t s : {1, 2}) {  // they begin with the prompt
        const auto copy = [&](Numbers& x, int64_t wide) {
          std::copy_n(x.begin(), prefix * wide, x.begin() + data.offsets[static_cast<size_t>(s)] * wide);
        };
        copy(data.q, z.H * z.K);
        copy(data.k, z.G * z.K);
        copy(data.v, z.G * z.V);
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

// Families: a parent and its children have the outputs of whole rows; the gradients of a family do not depend on the
// families beside it; and twice is twice.
TEST_F(CudaTensorAttention, FamiliesHaveTheirBitsAloneAndTogether) {
  for (const Shape4& z : {Shape4{6, 2, 12, 12}, {12, 2, 128, 128}, {4, 4, 64, 32}}) {
    Data data = bf16_data(z, {70, 20, 90, 33, 31, 1, 40}, 53);
    data.parents = {-1, 0, 0, -1, 3, 3, -1};
    const Trained all = train(data), again = train(data, 17);
    expect_cpu_bits(again.out, all.out, "other pages");
    expect_cpu_bits(again.dk, all.dk, "other pages, dk");
    const auto family = [&](int64_t first, int64_t end) {
      Data part = data;
      part.lengths = {data.lengths.begin() + first, data.lengths.begin() + end};
      part.offsets = {0};
      part.parents.clear();
      for (int64_t s = first; s < end; ++s) {
        part.offsets.push_back(part.offsets.back() +
                               static_cast<int32_t>(data.lengths[static_cast<size_t>(s)]));
        part.parents.push_back(data.parent(s) < 0 ? -1 : data.parent(s) - static_cast<int32_t>(first));
      }
      const int64_t from = data.offsets[static_cast<size_t>(first)],
                    to = data.offsets[static_cast<size_t>(end)];
      const auto cut = [&](Numbers& x, int64_t wide) {
        x = {x.begin() + from * wide, x.begin() + to * wide};
      };
      cut(part.q, z.H * z.K);
      cut(part.k, z.G * z.K);
      cut(part.v, z.G * z.V);
      cut(part.d_o, z.H * z.V);
      const Trained own = train(part);
      const auto same = [&](const Numbers& mine, const Numbers& of_all, int64_t wide, const char* what) {
        expect_cpu_bits(mine, {of_all.begin() + from * wide, of_all.begin() + to * wide},
                        z.str() + " " + what);
      };
      same(own.out, all.out, z.H * z.V, "out");
      same(own.dq, all.dq, z.H * z.K, "dq");
      same(own.dk, all.dk, z.G * z.K, "dk");
      same(own.dv, all.dv, z.G * z.V, "dv");
    };
    family(0, 3);
    family(3, 6);
    family(6, 7);
    // Twice: gradients are added.
    const Trained twice = train(data, 5, 2);
    for (size_t i = 0; i < all.dk.size(); ++i) ASSERT_EQ(twice.dk[i], all.dk[i] + all.dk[i]) << i;
  }
}

// A family is near whole rows that repeat the prompt: outputs to the bit, and the gradients of the prompt's keys and
// values are the rows' sums.
TEST_F(CudaTensorAttention, FamiliesAreTheirWholeRows) {
  for (const Shape4& z : {Shape4{6, 2, 12, 12}, {12, 2, 128, 128}, {4, 4, 64, 32}}) {
    Data family = bf16_data(z, {70, 20, 290}, 54, 3.0);
    family.parents = {-1, 0, 0};
    Data whole = bf16_data(z, {90, 360}, 55);
    const auto fill = [&](Numbers& to, const Numbers& from, int64_t wide, bool own_alone) {
      for (const auto& [row, first, n] : {std::tuple<int64_t, int64_t, int64_t>{0, 70, 20},
                                          std::tuple<int64_t, int64_t, int64_t>{90, 90, 290}}) {
        std::copy_n(from.begin(), 70 * wide, to.begin() + row * wide);
        if (own_alone && row > 0) std::fill_n(to.begin() + row * wide, 70 * wide, 0.0f);
        std::copy_n(from.begin() + first * wide, n * wide, to.begin() + (row + 70) * wide);
      }
    };
    fill(whole.q, family.q, z.H * z.K, false);
    fill(whole.k, family.k, z.G * z.K, false);
    fill(whole.v, family.v, z.G * z.V, false);
    fill(whole.d_o, family.d_o, z.H * z.V, true);  // the prompt's own gradient counts once
    const Trained got = train(family), rows = train(whole);
    const auto part = [](const Numbers& x, int64_t from, int64_t n, int64_t wide) {
      return Numbers(x.begin() + from * wide, x.begin() + (from + n) * wide);
    };
    const int64_t out = z.H * z.V;
    expect_cpu_bits(part(got.out, 0, 90, out), part(rows.out, 0, 90, out), z.str() + " first");
    expect_cpu_bits(part(got.out, 90, 290, out), part(rows.out, 160, 290, out), z.str() + " second");
    const auto sum = [&](const Numbers& x, int64_t wide) {
      Numbers total = part(x, 0, 70, wide);
      for (size_t i = 0; i < total.size(); ++i) total[i] += x[static_cast<size_t>(90 * wide) + i];
      return total;
    };
    EXPECT_LT(distance_of(part(got.dk, 0, 70, z.G * z.K), sum(rows.dk, z.G * z.K)), 8e-3) << z.str();
    EXPECT_LT(distance_of(part(got.dv, 0, 70, z.G * z.V), sum(rows.dv, z.G * z.V)), 8e-3) << z.str();
    expect_cpu_bits(part(got.dq, 70, 20, z.H * z.K), part(rows.dq, 70, 20, z.H * z.K), z.str() + " dq");
  }
}

}  // namespace
}  // namespace tensor_attention_test
}  // namespace r1
