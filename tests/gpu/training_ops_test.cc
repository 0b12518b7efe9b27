// tests/gpu/training_ops_test.cc: the passes over many rows that training makes on a GPU have the bits of the ops that
// they stand for: sums with norms, whole backwards of norms, gradients that are rounded where they are made.
#include <array>
#include <cmath>
#include <functional>

#include "base/math.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul/round_gradient_cuda.h"
#include "ops/norm/norm.h"
#include "ops/optim/optim.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"

namespace r1::training_ops_test {
namespace {
using namespace test;

using Results = std::vector<std::vector<float>>;

class CudaTrainingOps : public OnDevice {};

void choose_bf16(auto& r) {
  r.ctx.numerics = r.ctx.device == Device::cuda ? Numerics::cuda_bf16 : Numerics::cpu_bf16;
}

Tensor bf16_input(auto& r, Shape shape, std::span<const float> values) {
  const Tensor t = r.ctx.output(shape, DType::bf16);
  write_values(r.ctx.memory(), t, 0, values, r.ctx.stream);
  return t;
}

// An activation's values in f32, whatever its type.
std::vector<float> read_all(auto& r, const Tensor& t) {
  std::vector<float> out(static_cast<size_t>(t.count()));
  read_values(r.ctx.memory(), t, 0, out, r.ctx.stream);
  return out;
}

// At the end of the backward, x's gradient goes to *out, and *dtype tells its type.
void want_any(auto& r, const Tensor& x, std::vector<float>* out, DType* dtype) {
  r.tape.record([x, out, dtype](Context& c) {
    const Tensor g = c.tape->grad(x);
    *dtype = g.dtype;
    out->resize(static_cast<size_t>(g.count()));
    read_values(c.memory(), g, 0, *out, c.stream);
  });
}

std::vector<float> rounded_to_bf16(std::vector<float> values) {
  for (float& v : values) v = f32_from_bf16(bf16_from_f32(v));
  return values;
}

// Many numbers soon: a table, again and again, from another place each time.
std::vector<float> many_numbers(Random& random, int64_t n, bool mixed = false) {
  constexpr int64_t kTable = 9973;
  const std::vector<float> table = mixed ? mixed_numbers(random, kTable) : random_normal(random, kTable);
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) out[i] = table[i % table.size()];
  return out;
}

TEST_F(CudaTrainingOps, SumsAndNormsOfManyRowsHaveTheBitsOfTheCpu) {
  Random random(1);
  for (const auto& [T, D] : std::vector<std::array<int64_t, 2>>{
           {1024, 64}, {1100, 37}, {1031, 384}, {1200, 768}, {1025, 1000}, {1050, 1536}, {1024, 2048}}) {
    auto a = many_numbers(random, T * D, true);
    const auto b = many_numbers(random, T * D), w = random_normal(random, D),
               dy = many_numbers(random, T * D), dsum = many_numbers(random, T * D),
               held = random_normal(random, D);
    a[static_cast<size_t>(3 * D)] = kNaN;
    for (const bool bf16 : {false, true}) {
      expect_both_agree(
          [&, T = T, D = D](auto& r) -> Results {
            if (bf16) choose_bf16(r);
            PlacedParameter p(r.ctx.memory(), {D}, w, held);
            const Tensor x = r.input({T, D}, a), term = r.input({T, D}, b);
            std::vector<float> dx, dterm;
            r.want(x, &dx);
            r.want(term, &dterm);
            poison(r, static_cast<size_t>(T * D) * 16);
            const auto [sum, normed] = add_and_norm(r.ctx, x, term, p.p, 1e-6f);
            r.seed(sum, dsum);
            r.seed(normed, dy);
            Results out{read_all(r, sum), read_all(r, normed)};
            r.backward();
            out.insert(out.end(), {dx, dterm, p.gradient()});
            return out;
          },
          std::to_string(T) + " x " + std::to_string(D) + (bf16 ? " in bf16" : ""));
    }
  }
}

TEST_F(CudaTrainingOps, NormsOfManyShortRowsOfBf16HaveTheBitsOfTheCpu) {
  Random random(2);
  for (const int64_t D : {64, 96, 128}) {
    const int64_t T = 3000;
    const auto x = many_numbers(random, T * D, true), w = random_normal(random, D);
    expect_both_agree(
        [&](auto& r) -> Results {
          choose_bf16(r);
          PlacedParameter p(r.ctx.memory(), {D}, w, w);
          return {read_all(r, rms_norm(r.ctx, bf16_input(r, {T, D}, x), p.p, 1e-6f))};
        },
        "norm of " + std::to_string(D));
  }
}

// The chains of a batch whose families have these numbers of tokens: 64 rows each, the last of a family shorter.
template <class Step>
void add_by_chains(std::span<const int64_t> families, int64_t each, int64_t D, std::vector<float>& sums,
                   const Step& step) {
  const int64_t together = std::max<int64_t>(1, 64 / each);
  int64_t first = 0;
  for (const int64_t n : families) {
    for (int64_t begin = 0; begin < n; begin += together) {
      std::vector<float> chain(static_cast<size_t>(D));
      for (int64_t row = (first + begin) * each; row < (first + std::min(n, begin + together)) * each; ++row)
        for (int64_t d = 0; d < D; ++d)
          chain[static_cast<size_t>(d)] = step(chain[static_cast<size_t>(d)], row, d);
      for (size_t d = 0; d < chain.size(); ++d) sums[d] += chain[d];
    }
    first += n;
  }
}

// 1 / sqrt(mean of squares + eps) of each row, in the sixteen lanes of ops/norm/norm.h.
std::vector<float> rstd_of_rows(std::span<const float> x, int64_t D, float eps) {
  std::vector<float> out;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(D)) {
    std::array<float, 16> lanes{};
    for (size_t d = 0; d < static_cast<size_t>(D); ++d)
      lanes[d % 16] = std::fma(x[row + d], x[row + d], lanes[d % 16]);
    for (size_t apart = 8; apart > 0; apart /= 2)
      for (size_t l = 0; l < apart; ++l) lanes[l] += lanes[l + apart];
    out.push_back(1.0f / std::sqrt(lanes[0] / static_cast<float>(D) + eps));
  }
  return out;
}

struct NormSize {
  int64_t each, D;  // rows per token
  bool narrow;      // x is of bf16
};

TEST_F(CudaTrainingOps, BackwardsOfNormsHaveTheirOrderInFamilies) {
  Random random(3);
  const std::vector<int64_t> families = {1, 150, 64, 17};
  const int64_t tokens = 232;
  for (const NormSize& z : {NormSize{1, 64, false}, NormSize{1, 384, false}, NormSize{1, 768, false},
                            NormSize{1, 776, false}, NormSize{1, 1536, false}, NormSize{1, 2048, false},
                            NormSize{1, 3072, false}, NormSize{1, 4096, false}, NormSize{6, 64, true},
                            NormSize{2, 128, true}, NormSize{1, 36, false}, NormSize{1, 4104, false}}) {
    const int64_t T = tokens * z.each;
    auto x = many_numbers(random, T * z.D, true);
    const auto w = random_normal(random, z.D), dy = many_numbers(random, T * z.D),
               dx_held = many_numbers(random, T * z.D), dw_held = random_normal(random, z.D);
    if (z.narrow) x = rounded_to_bf16(x);
    for (const bool add : {false, true}) {
      // Runs the ops without a device, or with one. `rounded`: dx is read in bf16.
      const auto run = [&](auto& r, bool rounded, DType* dtype) -> Results {
        choose_bf16(r);
        const TokenSteps steps = token_steps(r.ctx, families);
        if (!steps.families.empty()) r.ctx.steps = &steps;
        PlacedParameter p(r.ctx.memory(), {z.D}, w, dw_held);
        const Tensor in = z.narrow ? bf16_input(r, {T, z.D}, x) : r.input({T, z.D}, x);
        if (rounded) r.tape.read_rounded(in);
        std::vector<float> dx;
        want_any(r, in, &dx, dtype);
        poison(r, static_cast<size_t>(T * z.D) * 16);
        const Tensor y = rms_norm(r.ctx, in, p.p, 1e-6f);
        r.seed(y, dy);
        if (add) r.seed(in, dx_held);
        r.backward();
        r.ctx.steps = nullptr;
        return {dx, p.gradient()};
      };
      const std::string what =
          std::to_string(z.each) + " rows of " + std::to_string(z.D) + (add ? " added" : "");
      OpRun cpu;
      DType dtype = DType::f32;
      const Results want = run(cpu, false, &dtype);
      const std::vector<float> rstd = rstd_of_rows(x, z.D, 1e-6f);
      std::vector<float> dw = dw_held;
      add_by_chains(families, z.each, z.D, dw, [&](float sum, int64_t row, int64_t d) {
        const auto at = static_cast<size_t>(row * z.D + d);
        return std::fma(dy[at], x[at] * rstd[static_cast<size_t>(row)], sum);
      });
      for (const bool rounded : {false, true}) {
        DeviceRun device;
        const Results got = run(device, rounded, &dtype);
        const bool narrow = rounded && !add;  // a gradient that others add to stays f32
        EXPECT_EQ(dtype, narrow ? DType::bf16 : DType::f32) << what;
        expect_cpu_bits(got[0], narrow ? rounded_to_bf16(want[0]) : want[0], what + " dx");
        expect_cpu_bits(got[1], dw, what + " dw");
      }
    }
  }
}

// The gradient of a sum's term is read in bf16 by the product that made the term: the norm behind the sum writes it.
TEST_F(CudaTrainingOps, ASumsGradientIsAlsoRoundedForTheProductThatMadeATerm) {
  Random random(4);
  const int64_t T = 1500, D = 384;
  const auto x = many_numbers(random, T * D), b = many_numbers(random, T * D), w = random_normal(random, D),
             dy = many_numbers(random, T * D), dsum = many_numbers(random, T * D);
  const std::vector<int64_t> families = {T};
  DeviceRun r;
  choose_bf16(r);
  const TokenSteps steps = token_steps(r.ctx, families);
  r.ctx.steps = &steps;
  PlacedParameter p(r.ctx.memory(), {D}, w, w);
  const Tensor in = r.input({T, D}, x), term = r.input({T, D}, b);
  r.tape.read_rounded(term);
  std::vector<float> whole, rounded, dx;
  r.want(in, &dx);
  r.tape.record([&](Context& c) {
    whole = read_all(r, c.tape->grad(term));
    const Tensor copy = c.tape->rounded_grad(term);
    ASSERT_TRUE(copy);
    EXPECT_EQ(copy.dtype, DType::bf16);
    rounded = read_all(r, copy);
  });
  const auto [sum, normed] = add_and_norm(r.ctx, in, term, p.p, 1e-6f);
  r.seed(sum, dsum);
  r.seed(normed, dy);
  r.backward();
  r.ctx.steps = nullptr;
  EXPECT_EQ(whole, dx);
  EXPECT_EQ(rounded, rounded_to_bf16(whole));
}

TEST_F(CudaTrainingOps, GradientsOfSwigluAreRoundedWhereTheyAreMade) {
  Random random(5);
  for (const int64_t n : {64, 800, 1023, 4096}) {
    auto gate = mixed_numbers(random, n);
    const auto up = random_normal(random, n), dy = random_normal(random, n);
    gate[3] = kNaN;
    gate[4] = std::numeric_limits<float>::infinity();
    const auto run = [&](auto& r, bool rounded) -> Results {
      choose_bf16(r);
      const Tensor a = bf16_input(r, {1, n}, gate), b = bf16_input(r, {1, n}, up);
      if (rounded) r.tape.read_rounded(a);
      if (rounded) r.tape.read_rounded(b);
      std::vector<float> da, db;
      DType da_type = DType::f32, db_type = DType::f32;
      want_any(r, a, &da, &da_type);
      want_any(r, b, &db, &db_type);
      poison(r);
      const Tensor y = swiglu(r.ctx, a, b);
      r.seed(y, dy);
      const std::vector<float> out = read_all(r, y);
      r.backward();
      EXPECT_EQ(da_type, rounded ? DType::bf16 : DType::f32);
      EXPECT_EQ(db_type, da_type);
      return {out, da, db};
    };
    OpRun cpu;
    DeviceRun plain, narrow;
    const Results want = run(cpu, false), got = run(plain, false), rounded = run(narrow, true);
    const std::string what = "swiglu of " + std::to_string(n);
    for (size_t i = 0; i < want.size(); ++i) {
      expect_cpu_bits(got[i], want[i], what);
      expect_cpu_bits(rounded[i], rounded_to_bf16(want[i]), what + " rounded");
    }
  }
}

TEST_F(CudaTrainingOps, GradientsOfRotaryEmbeddingAreRoundedWhereTheyAreMade) {
  Random random(6);
  const int64_t T = 70;
  for (const auto& [H, P] : std::vector<std::array<int64_t, 2>>{{1, 16}, {6, 64}, {9, 128}, {3, 20}}) {
    std::vector<float> frequencies;
    for (int64_t i = 0; i < P / 2; ++i)
      frequencies.push_back(
          static_cast<float>(exact_pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(P))));
    const RopeTable table(frequencies, 1.0f, 600);
    const auto x = mixed_numbers(random, T * H * P), dy = random_normal(random, T * H * P);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(600)));
    for (const RopeStyle style : {RopeStyle::half, RopeStyle::interleaved}) {
      const auto run = [&, H = H, P = P](auto& r, bool rounded) -> Results {
        choose_bf16(r);
        const Tensor in = bf16_input(r, {T, H, P}, x);
        if (rounded) r.tape.read_rounded(in);
        std::vector<float> dx;
        DType dtype = DType::f32;
        want_any(r, in, &dx, &dtype);
        poison(r);
        const Tensor y = rope(r.ctx, in, positions, table, style);
        r.seed(y, dy);
        const std::vector<float> out = read_all(r, y);
        r.backward();
        EXPECT_EQ(dtype, rounded ? DType::bf16 : DType::f32);
        return {out, dx};
      };
      OpRun cpu;
      DeviceRun plain, narrow;
      const Results want = run(cpu, false), got = run(plain, false), rounded = run(narrow, true);
      const std::string what = "rope of " + std::to_string(H) + " x " + std::to_string(P);
      expect_cpu_bits(got[0], want[0], what);
      expect_cpu_bits(got[1], want[1], what + " dx");
      expect_cpu_bits(rounded[1], rounded_to_bf16(want[1]), what + " dx rounded");
    }
  }
}

TEST_F(CudaTrainingOps, ABiasGradientIsSummedInThePassThatRounds) {
  Random random(7);
  const std::vector<int64_t> families = {5, 64, 260, 3};
  const int64_t T = 332;
  for (const int64_t N : {4, 64, 128, 132, 768}) {
    const auto dy = mixed_numbers(random, T * N), held = random_normal(random, N);
    DeviceRun r(false);
    choose_bf16(r);
    const TokenSteps steps = token_steps(r.ctx, families);
    r.ctx.steps = &steps;
    const DeviceFloats device_dy(dy), dbias(held);
    const Tensor rounded = r.ctx.arena.tensor({T, N}, DType::bf16);
    ASSERT_TRUE(cuda::round_and_sum_columns(r.ctx, device_dy.data(), T, N, rounded.bf16(), dbias.data()));
    std::vector<float> want = held;
    add_by_chains(families, 1, N, want, [&](float sum, int64_t row, int64_t n) {
      return sum + dy[static_cast<size_t>(row * N + n)];
    });
    expect_cpu_bits(dbias.values(r.stream), want, "dbias of " + std::to_string(N));
    expect_cpu_bits(read_all(r, rounded), rounded_to_bf16(dy), "dy of " + std::to_string(N));
    r.ctx.steps = nullptr;
  }
}

TEST_F(CudaTrainingOps, OneUpdateOfManyParametersHasTheBitsOfTheCpu) {
  Random random(8);
  const std::vector<int64_t> sizes = {1, 4096, 3, 4097, 16, 70001, 8192};
  std::vector<std::vector<float>> weights, gradients;
  for (const int64_t n : sizes) {
    weights.push_back(mixed_numbers(random, n));
    gradients.push_back(mixed_numbers(random, n));
  }
  expect_both_agree(
      [&](auto& r) -> Results {
        Memory& memory = r.ctx.memory();
        std::vector<std::unique_ptr<PlacedParameter>> own;
        std::vector<Buffer> moments;
        std::vector<AdamWItem> items;
        for (size_t i = 0; i < sizes.size(); ++i) {
          own.push_back(std::make_unique<PlacedParameter>(memory, Shape{sizes[i]}, weights[i], gradients[i]));
          moments.emplace_back(Shape{sizes[i]}, DType::f32, memory);
          moments.emplace_back(Shape{sizes[i]}, DType::f32, memory);
        }
        for (size_t i = 0; i < sizes.size(); ++i)
          items.push_back({.parameter = &own[i]->p,
                           .m = moments[2 * i].tensor(),
                           .v = moments[2 * i + 1].tensor(),
                           .weight_decay = i % 2 == 0 ? 0.1f : 0.0f});
        for (int64_t step = 1; step <= 3; ++step)
          adamw_update(r.ctx, items, {.lr = 3e-3f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .step = step},
                       0.37f);
        Results out;
        for (const AdamWItem& item : items) {
          EXPECT_EQ(item.parameter->version, 4u);  // from 1, by one per update
          for (const Tensor& t : {item.parameter->value, item.m, item.v}) out.push_back(values(r, t));
        }
        return out;
      },
      "updates");
}

}  // namespace
}  // namespace r1::training_ops_test
