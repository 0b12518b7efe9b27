// In the bf16 numerics every op gives the cpu-f32 result on bf16 values, rounded once at the end, so results
// are compared to the bit. Gradients equal those of cpu-f32 at the same values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <tuple>

#include "ops/attention/attention.h"
#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/loss/loss.h"
#include "ops/matmul/matmul.h"
#include "ops/mla/mla.h"
#include "ops/moe/moe.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"
#include "tests/ops/test_util.h"

namespace r1::bf16_test {
namespace {

using test::expect_same_bits;
using test::OwnedParameter;
using test::random_normal;

std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = f32_from_bf16(bf16_from_f32(v));
  return values;
}

// Returns the values of a bf16 tensor as f32.
std::vector<float> values_of(const Tensor& t) {
  std::vector<float> out;
  in_f32(host_memory(), t,
         [&out](std::span<const float> piece) { out.insert(out.end(), piece.begin(), piece.end()); });
  return out;
}

// One run with given numerics. activations() makes inputs of its activation type.
struct NumericsRun : test::OpRun {
  explicit NumericsRun(Numerics numerics, int threads = 2) : test::OpRun(true, threads) {
    ctx.numerics = numerics;
  }
  Tensor activation(Shape shape, std::span<const float> values) {
    Tensor t = ctx.output(shape, ctx.activations());
    if (t.dtype == DType::f32) {
      std::memcpy(t.data, values.data(), values.size_bytes());
    } else {
      std::ranges::transform(values, t.bf16(), bf16_from_f32);
    }
    return t;
  }
};

// The output of one run of an op, and the requested gradients one after the other.
struct Result {
  std::vector<float> y, gradients;
};

// `body` makes the op's output in a Run and names, by want(), the gradients to compare. dy is drawn once.
// With cpu-bf16 the output must equal cpu-f32's after rounding (or without it, if the op returns f32), and
// the gradients must be equal.
template <class Body>
void expect_rounded_once(const Body& body, const std::string& what, DType y_type = DType::bf16) {
  const auto result = [&body](Numerics numerics, int threads) {
    NumericsRun run(numerics, threads);
    std::deque<std::vector<float>> gradients;
    const auto [y, weights] = body(run, gradients);
    Random random(99);
    run.seed(y, random_normal(random, y.count()));
    Result out{values_of(y), {}};
    run.backward();
    for (const auto& g : gradients) test::append(out.gradients, g);
    for (const std::vector<float>& w : weights()) test::append(out.gradients, w);
    return std::pair(out, y.dtype);
  };
  const auto [f32, f32_type] = result(Numerics::cpu_f32, 2);
  EXPECT_EQ(f32_type, DType::f32) << what;
  for (const int threads : {1, 3}) {
    const auto [bf16, type] = result(Numerics::cpu_bf16, threads);
    EXPECT_EQ(type, y_type) << what;
    expect_same_bits(bf16.y, y_type == DType::bf16 ? rounded(f32.y) : f32.y, what);
    EXPECT_FALSE(bf16.gradients.empty()) << what;
    expect_same_bits(bf16.gradients, f32.gradients, what + ": gradients");
  }
}

using Gradients = std::deque<std::vector<float>>;
using Weights = std::function<std::vector<std::vector<float>>()>;

// Returns an input of bf16 values whose gradient is requested.
Tensor wanted(NumericsRun& run, Gradients& gradients, const Tensor& x) {
  run.want(x, &gradients.emplace_back());
  return x;
}

Weights gradients_of(std::shared_ptr<OwnedParameter> w) {
  return [w] { return std::vector<std::vector<float>>{test::to_vector(w->p.grad)}; };
}
Weights none() {
  return [] { return std::vector<std::vector<float>>(); };
}

// Returns a parameter that lives as long as the run's tape.
std::shared_ptr<OwnedParameter> parameter(Shape shape, std::span<const float> values) {
  return std::make_shared<OwnedParameter>(shape, values, true, 0.25f);
}

TEST(Bf16, RoundingIsToNearestEven) {
  ThreadPool threads(2);
  std::vector<float> x;
  for (uint32_t bits = 0; bits < (1u << 20); ++bits) x.push_back(std::bit_cast<float>(bits * 4093u));
  std::vector<uint16_t> narrow_bits(x.size());
  std::vector<float> wide(x.size()), in_place = x;
  narrow(threads, x.data(), static_cast<int64_t>(x.size()), narrow_bits.data());
  widen(threads, narrow_bits.data(), static_cast<int64_t>(x.size()), wide.data());
  round_to_bf16(threads, in_place.data(), static_cast<int64_t>(x.size()), in_place.data());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(narrow_bits[i], bf16_from_f32(x[i])) << i;
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(wide[i])) << i;
      continue;
    }
    // No other bf16 value is nearer. If two are equally near, the even one is taken.
    for (const int step : {-1, 1}) {
      const uint16_t other = static_cast<uint16_t>(narrow_bits[i] + step);
      const float neighbour = f32_from_bf16(other);
      if (!std::isfinite(neighbour) || !std::isfinite(wide[i])) continue;
      if (std::signbit(neighbour) != std::signbit(wide[i])) continue;
      const double here = std::fabs(static_cast<double>(x[i]) - static_cast<double>(wide[i]));
      const double there = std::fabs(static_cast<double>(x[i]) - static_cast<double>(neighbour));
      ASSERT_LE(here, there) << x[i];
      if (here == there && here > 0) {
        ASSERT_EQ(narrow_bits[i] & 1, 0) << x[i];
      }
    }
  }
  expect_same_bits(in_place, wide, "in place");
}

TEST(Bf16, Matmul) {
  Random random(1);
  for (const auto& [T, N, K] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                {1, 64, 31},
                                {3, 33, 64},
                                {5, 100, 257},
                                {17, 129, 300},
                                {70, 65, 515},
                                {200, 40, 1030},
                                {700, 40, 130}}) {
    const auto x = rounded(random_normal(random, T * K)), w = rounded(random_normal(random, N * K)),
               b = rounded(random_normal(random, N));
    for (const bool f32_output : {false, true}) {
      expect_rounded_once(
          [&](NumericsRun& run, Gradients& gradients) {
            auto dense = parameter({N, K}, w), bias = parameter({N}, b);
            auto weight = std::make_shared<Weight>(&dense->p, &bias->p);
            const Tensor in = wanted(run, gradients, run.activation({T, K}, x));
            const Tensor y =
                f32_output ? matmul(run.ctx, in, *weight, DType::f32) : matmul(run.ctx, in, *weight);
            return std::pair<Tensor, Weights>(y, [dense, bias, weight] {
              return std::vector<std::vector<float>>{test::to_vector(dense->p.grad),
                                                     test::to_vector(bias->p.grad)};
            });
          },
          "matmul " + Shape({T, N, K}).str(), f32_output ? DType::f32 : DType::bf16);
    }
  }
}

// An f32 master copy is used as its bf16 rounding, which a value stored in bf16 already is.
TEST(Bf16, MatmulRoundsTheMasterCopy) {
  Random random(2);
  const int64_t T = 9, N = 70, K = 45;
  const auto x = rounded(random_normal(random, T * K)), w = random_normal(random, N * K);
  const auto product = [&](const Tensor& value) {
    Parameter p;
    p.name = "w";
    p.value = value;
    const Weight weight(&p);
    NumericsRun run(Numerics::cpu_bf16);
    return values_of(matmul(run.ctx, run.activation({T, K}, x), weight));
  };
  const Buffer master({N, K}, DType::f32), coarse({N, K}, DType::f32), stored({N, K}, DType::bf16);
  std::ranges::copy(w, master.tensor().f32());
  std::ranges::copy(rounded(w), coarse.tensor().f32());
  std::ranges::transform(w, stored.tensor().bf16(), bf16_from_f32);
  const auto want = product(coarse.tensor());
  expect_same_bits(product(master.tensor()), want, "f32 master");
  expect_same_bits(product(stored.tensor()), want, "bf16 storage");
}

// Panels are made again if the weight is used with other numerics, and if it changes.
TEST(Bf16, PanelsFollowNumericsAndVersion) {
  Random random(3);
  const int64_t T = 4, N = 40, K = 32;
  const auto x = rounded(random_normal(random, T * K));
  auto w = rounded(random_normal(random, N * K));
  OwnedParameter dense({N, K}, w);
  const Weight weight(&dense.p);
  const auto product = [&](Numerics numerics) {
    NumericsRun run(numerics);
    return values_of(matmul(run.ctx, run.activation({T, K}, x), weight, DType::f32));
  };
  const auto first = product(Numerics::cpu_f32);
  expect_same_bits(product(Numerics::cpu_bf16), first, "bf16 after f32");
  expect_same_bits(product(Numerics::cpu_f32), first, "f32 after bf16");
  dense.p.value.f32()[0] += 1.0f;
  ++dense.p.version;
  EXPECT_NE(product(Numerics::cpu_bf16), first);
}

TEST(Bf16, Norm) {
  Random random(4);
  for (const int64_t D : {1, 16, 33, 200}) {
    const int64_t T = 7;
    const auto x = random_normal(random, T * D), w = rounded(random_normal(random, D));
    for (const bool residual : {true, false}) {  // true: f32 input; false: an activation
      expect_rounded_once(
          [&, D](NumericsRun& run, Gradients& gradients) {
            auto weight = parameter({D}, w);
            const Tensor in =
                wanted(run, gradients, residual ? run.input({T, D}, x) : run.activation({T, D}, rounded(x)));
            return std::pair<Tensor, Weights>(rms_norm(run.ctx, in, weight->p, 1e-6f), gradients_of(weight));
          },
          "norm");
    }
  }
}

TEST(Bf16, SwigluAndRope) {
  Random random(5);
  const int64_t T = 6, F = 37;
  const auto g = rounded(random_normal(random, T * F)), u = rounded(random_normal(random, T * F));
  expect_rounded_once(
      [&](NumericsRun& run, Gradients& gradients) {
        const Tensor gate = wanted(run, gradients, run.activation({T, F}, g));
        const Tensor up = wanted(run, gradients, run.activation({T, F}, u));
        return std::pair<Tensor, Weights>(swiglu(run.ctx, gate, up), none());
      },
      "swiglu");
  const std::vector<float> frequencies{1.0f, 0.3f, 0.1f, 0.02f};
  const RopeTable table(frequencies, 1.0f, 64);
  const std::vector<int32_t> positions{0, 1, 5, 9, 33, 63};
  const auto x = rounded(random_normal(random, T * 2 * 11));
  for (const RopeStyle style : {RopeStyle::half, RopeStyle::interleaved}) {
    expect_rounded_once(
        [&](NumericsRun& run, Gradients& gradients) {
          const Tensor in = wanted(run, gradients, run.activation({T, 2, 11}, x));
          return std::pair<Tensor, Weights>(rope(run.ctx, in, positions, table, style), none());
        },
        "rope");
  }
}

TEST(Bf16, SlicesCopy) {
  Random random(6);
  const auto x = rounded(random_normal(random, 5 * 12));
  expect_rounded_once(
      [&](NumericsRun& run, Gradients& gradients) {
        const Tensor in = wanted(run, gradients, run.activation({5, 12}, x));
        return std::pair<Tensor, Weights>(slice_columns(run.ctx, in, 3, 12), none());
      },
      "slice");
  NumericsRun run(Numerics::cpu_bf16);
  run.ctx.tape = nullptr;
  const Tensor in = run.activation({5, 12}, x);
  const std::vector<int32_t> rows{4, 0, 0, 2};
  const Tensor gathered = gather_rows(run.ctx, in, rows);
  ASSERT_EQ(gathered.dtype, DType::bf16);
  for (size_t r = 0; r < rows.size(); ++r)
    EXPECT_TRUE(std::equal(in.bf16() + rows[r] * 12, in.bf16() + rows[r] * 12 + 12, gathered.bf16() + r * 12))
        << r;
}

TEST(Bf16, Embedding) {
  Random random(7);
  const std::vector<int32_t> tokens{3, 0, 3, 6};
  const auto table = random_normal(random, 7 * 20);
  NumericsRun run(Numerics::cpu_bf16);
  OwnedParameter w({7, 20}, table);
  const Tensor y = embed(run.ctx, tokens, Weight(&w.p));
  ASSERT_EQ(y.dtype, DType::f32);
  const Buffer stored({7, 20}, DType::bf16);
  std::ranges::transform(table, stored.tensor().bf16(), bf16_from_f32);
  Parameter narrow;
  narrow.value = stored.tensor();
  const Tensor again = embed(run.ctx, tokens, Weight(&narrow));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t d = 0; d < 20; ++d) {
      const float want =
          f32_from_bf16(bf16_from_f32(table[static_cast<size_t>(tokens[static_cast<size_t>(t)] * 20 + d)]));
      ASSERT_EQ(y.f32()[t * 20 + d], want);
      ASSERT_EQ(again.f32()[t * 20 + d], want);
    }
  }
}

TEST(Bf16, Attention) {
  Random random(8);
  for (const auto& [H, G, K, V, values_in_keys] :
       {std::tuple<int64_t, int64_t, int64_t, int64_t, bool>{2, 2, 16, 16, false},
        {6, 2, 24, 40, false},
        {4, 1, 20, 9, false},
        {4, 1, 20, 9, true},
        {6, 2, 83, 64, true}}) {
    const std::vector<int32_t> offsets{0, 1, 34, 34, 104};
    const int64_t T = offsets.back(), S = 4, pages_a_row = 3;
    std::vector<int32_t> positions, table, ids(static_cast<size_t>(T), 0);
    for (size_t s = 0; s + 1 < offsets.size(); ++s)
      for (int32_t i = 0; i < offsets[s + 1] - offsets[s]; ++i) positions.push_back(i);
    for (int32_t i = 0; i < S * pages_a_row; ++i)
      table.push_back(i * 5 % static_cast<int32_t>(S * pages_a_row));
    const auto q = rounded(random_normal(random, T * H * K)), k = rounded(random_normal(random, T * G * K));
    auto v = rounded(random_normal(random, T * G * V));
    for (int64_t i = 0; i < T * G && values_in_keys; ++i)
      std::copy_n(k.begin() + i * K, V, v.begin() + i * V);
    expect_rounded_once(
        [&, H = H, G = G, K = K, V = V, once = values_in_keys](NumericsRun& run, Gradients& gradients) {
          KvPages pages{nullptr, run.ctx.activations(), G, K, V, once};
          pages.data = run.ctx.arena.take(static_cast<size_t>(S * pages_a_row) * pages.page_bytes());
          const Tensor tq = wanted(run, gradients, run.activation({T, H, K}, q));
          const Tensor tk = wanted(run, gradients, run.activation({T, G, K}, k));
          const Tensor tv = wanted(run, gradients, run.activation({T, G, V}, v));
          const Batch batch{ids, positions, offsets, table, pages_a_row};
          return std::pair<Tensor, Weights>(attention(run.ctx, batch, pages, tq, tk, tv, 0.25f), none());
        },
        "attention");
  }
}

TEST(Bf16, Latent) {
  Random random(9);
  const int64_t T = 6, H = 3, n = 20, P = 8, v = 33, R = 40;
  const RopeTable table(std::vector<float>{1.0f, 0.5f, 0.25f, 0.125f}, 1.0f, 64);
  const std::vector<int32_t> positions{0, 3, 63, 7, 7, 20};
  const auto q = rounded(random_normal(random, T * H * (n + P))),
             o = rounded(random_normal(random, T * H * R)),
             kv_b = rounded(random_normal(random, H * (n + v) * R));
  for (const bool absorb : {true, false}) {
    expect_rounded_once(
        [&](NumericsRun& run, Gradients& gradients) {
          auto dense = parameter({H * (n + v), R}, kv_b);
          auto weight = std::make_shared<LatentWeight>(&dense->p, H, n, v);
          const Tensor in = wanted(run, gradients,
                                   absorb ? run.activation({T, H, n + P}, q) : run.activation({T, H, R}, o));
          const Tensor y = absorb ? absorb_query(run.ctx, in, *weight, {positions, &table})
                                  : expand_value(run.ctx, in, *weight);
          return std::pair<Tensor, Weights>(
              y, [dense, weight] { return std::vector<std::vector<float>>{test::to_vector(dense->p.grad)}; });
        },
        absorb ? "absorb" : "expand");
  }
}

TEST(Bf16, LatentKey) {
  Random random(10);
  const int64_t T = 6, R = 40, P = 8;
  const RopeTable table(std::vector<float>{1.0f, 0.5f, 0.25f, 0.125f}, 1.0f, 64);
  const std::vector<int32_t> positions{0, 3, 63, 7, 7, 20};
  const auto c = rounded(random_normal(random, T * R)),
             compressed = rounded(random_normal(random, T * (R + P)));
  expect_rounded_once(
      [&](NumericsRun& run, Gradients& gradients) {
        const Tensor tc = wanted(run, gradients, run.activation({T, R}, c));
        const Tensor both = wanted(run, gradients, run.activation({T, R + P}, compressed));
        return std::pair<Tensor, Weights>(latent_key(run.ctx, tc, both, {positions, &table}), none());
      },
      "latent key");
}

// One expert with weight 1 is a plain MLP, with the same roundings and the same gradients of its weights.
TEST(Bf16, OneExpertIsAnMlp) {
  Random random(12);
  const int64_t T = 70, D = 24, F = 37;
  const auto x = rounded(random_normal(random, T * D)), router = rounded(random_normal(random, D)),
             g = rounded(random_normal(random, F * D, 0.3)), u = rounded(random_normal(random, F * D, 0.3)),
             d = rounded(random_normal(random, D * F, 0.3)), dy = random_normal(random, T * D);
  struct Weights4 {
    OwnedParameter router, gate, up, down;
  };
  std::vector<std::vector<float>> outputs, gradients;
  for (const bool as_moe : {true, false}) {
    Weights4 p{{{1, D}, router}, {{F, D}, g}, {{F, D}, u}, {{D, F}, d}};
    MoeWeights w;
    w.config = {.experts = 1, .active = 1};
    w.router = Weight(&p.router.p);
    w.experts.push_back({Weight(&p.gate.p), Weight(&p.up.p), Weight(&p.down.p)});
    NumericsRun run(Numerics::cpu_bf16);
    const Tensor in = run.activation({T, D}, x);
    const Expert& e = w.experts[0];
    const Tensor y =
        as_moe ? moe(run.ctx, Batch{}, in, w)
               : matmul(run.ctx, swiglu(run.ctx, matmul(run.ctx, in, e.gate), matmul(run.ctx, in, e.up)),
                        e.down, DType::f32);
    ASSERT_EQ(y.dtype, DType::f32);
    outputs.push_back(test::to_vector(y));
    run.seed(y, dy);
    run.backward();
    auto& all = gradients.emplace_back();
    // Up's gradient is left out, because the backward passes of the two ops round silu(gate) differently,
    // also in cpu-f32.
    for (const OwnedParameter* q : {&p.gate, &p.down}) test::append(all, test::to_vector(q->p.grad));
  }
  expect_same_bits(outputs[0], outputs[1], "y");
  expect_same_bits(gradients[0], gradients[1], "dW");
}

TEST(Bf16, LogProbs) {
  Random random(10);
  const int64_t T = 9, D = 24, V = 50;
  const auto h = rounded(random_normal(random, T * D)), w = rounded(random_normal(random, V * D));
  const std::vector<int32_t> targets{3, -1, 0, 49, 7, 7, -1, 20, 1};
  expect_rounded_once(
      [&](NumericsRun& run, Gradients& gradients) {
        auto dense = parameter({V, D}, w);
        auto head = std::make_shared<Weight>(&dense->p);
        const Tensor in = wanted(run, gradients, run.activation({T, D}, h));
        return std::pair<Tensor, Weights>(token_log_probs(run.ctx, in, *head, targets, 0.7f), [dense, head] {
          return std::vector<std::vector<float>>{test::to_vector(dense->p.grad)};
        });
      },
      "log-probs", DType::f32);
}

// Imitates VDPBF16PS: odd k come first, and denormals count as zero.
float flushed(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}
float pair_step(float sum, float a, float b) {
  return flushed(std::fma(flushed(a), flushed(b), flushed(sum)));
}

TEST(Bf16, Avx512Bf16WalksPairs) {
  if (!machine_has(Numerics::cpu_avx512bf16)) {
    std::printf("SKIPPED, LOUDLY: this machine has no AVX512-BF16\n");
    GTEST_SKIP();
  }
  Random random(11);
  for (const auto& [T, N, K] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                {1, 160, 31},
                                {2, 130, 64},
                                {3, 33, 64},
                                {5, 100, 257},
                                {13, 129, 1300},
                                {200, 40, 1030},
                                {700, 40, 130}}) {
    auto x = rounded(random_normal(random, T * K)), w = rounded(random_normal(random, N * K));
    x[0] = 0x1p-130f;  // a denormal
    OwnedParameter dense({N, K}, w);
    const Weight weight(&dense.p);
    std::vector<float> want;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t n = 0; n < N; ++n) {
        float sum = 0;
        for (int64_t k = 0; k < K; k += 2) {
          const auto at = [K = K](const std::vector<float>& m, int64_t row, int64_t column) {
            return column < K ? m[static_cast<size_t>(row * K + column)] : 0.0f;
          };
          sum = pair_step(sum, at(x, t, k + 1), at(w, n, k + 1));
          sum = pair_step(sum, at(x, t, k), at(w, n, k));
        }
        want.push_back(sum);
      }
    }
    for (const int threads : {1, 3}) {
      NumericsRun run(Numerics::cpu_avx512bf16, threads);
      const Tensor y = matmul(run.ctx, run.activation({T, K}, x), weight, DType::f32);
      expect_same_bits(values_of(y), want, "VDPBF16PS " + Shape({T, N, K}).str());
    }
  }
}

TEST(Bf16, NamesAndWhatTheMachineLacks) {
  EXPECT_EQ(numerics_from_name("cpu-bf16"), Numerics::cpu_bf16);
  EXPECT_EQ(name_of(Numerics::cpu_avx512bf16), "cpu-avx512bf16");
  try {
    numerics_from_name("cpu-f23");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("cpu-f32, cpu-bf16, cpu-avx512bf16"), std::string::npos) << e.what();
  }
  if (!machine_has(Numerics::cpu_avx512bf16)) {
    EXPECT_THROW(numerics_from_name("cpu-avx512bf16"), Error);
  }
}

}  // namespace
}  // namespace r1::bf16_test
