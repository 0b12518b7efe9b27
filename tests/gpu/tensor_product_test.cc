// tests/gpu/tensor_product_test.cc: bf16 products on tensor cores: near the exact sums, and the same bits
// from every kernel, for any number of rows, and for any cut of a batch between families.
#include <array>
#include <bit>

#include "ops/matmul/matmul.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "tensor/token_steps.h"
#include "tests/gpu/device_bits.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;
using cuda::TensorKernel;
using cuda::TensorProduct;

class CudaTensorProduct : public OnDevice {};

// x [T, K], w [N, K], bias [N], dy [T, N], and what the gradients held.
struct TensorCase {
  TensorCase(int64_t t, int64_t n, int64_t k) : T(t), N(n), K(k) {
    Random random(static_cast<uint64_t>(t * 1000003 + n * 1009 + k));
    x = bf16_numbers(random, T * K);
    w = bf16_numbers(random, N * K);
    bias = bf16_numbers(random, N);
    dy = bf16_numbers(random, T * N);
    dx = random_normal(random, T * K);
    dw = random_normal(random, N * K);
  }
  std::string name() const {
    return "T " + std::to_string(T) + " N " + std::to_string(N) + " K " + std::to_string(K);
  }
  int64_t T, N, K;
  std::vector<float> x, w, bias, dy, dx, dw;
};

constexpr TensorKernel kKernels[] = {
    TensorKernel::streamed, TensorKernel::few_rows,   TensorKernel::small_tiles, TensorKernel::large_tiles,
    TensorKernel::wgmma,    TensorKernel::wgmma_wide, TensorKernel::wgmma_shards};
constexpr int64_t kShards = 8;

struct TensorResult {
  std::vector<float> y, y_biased, y_bf16, dx, dx_added, dw, dw_families;
};

// All products of a case by one kernel; those that the kernel cannot compute stay empty.
TensorResult by_kernel(const TensorCase& c, TensorKernel kernel, int64_t shift = 0) {
  const cuda::Stream stream;
  const DeviceBits x(c.x, shift), w(c.w, shift), dy(c.dy, shift);
  const DeviceFloats bias(c.bias);
  const auto run = [&](const TensorProduct& product, std::span<const float> held, int64_t count) {
    if (!tensor_kernel_fits(product, kernel)) return std::vector<float>();
    const DeviceFloats out = held.empty() ? DeviceFloats(count) : DeviceFloats(held);
    TensorProduct here = product;
    here.d = out.data();
    cuda::tensor_product(here, kernel, stream.get());
    return out.values(stream);
  };
  cuda::TensorForward f{.x = x.data(), .T = c.T, .w = w.data(), .N = c.N, .K = c.K, .most_shards = kShards};
  TensorResult out;
  out.y = run(cuda::forward_product(f), {}, c.T * c.N);
  f.bias = bias.data();
  out.y_biased = run(cuda::forward_product(f), {}, c.T * c.N);
  out.dx = run(cuda::input_gradient_product(dy.data(), c.T, w.data(), c.N, c.K, kShards, false, nullptr), {},
               c.T * c.K);
  out.dx_added = run(cuda::input_gradient_product(dy.data(), c.T, w.data(), c.N, c.K, kShards, true, nullptr),
                     c.dx, c.T * c.K);
  out.dw = run(cuda::weight_gradient_product(x.data(), dy.data(), c.T, c.N, c.K, nullptr, 0, nullptr), c.dw,
               c.N * c.K);
  // The tokens as three families, whose steps end in rows that do not exist.
  std::vector<int64_t> families;
  for (const int64_t n : {c.T / 2, c.T / 3, c.T - c.T / 2 - c.T / 3})
    if (n > 0) families.push_back(n);
  const std::vector<int32_t> rows = token_step_rows(families);
  const DeviceInts list(rows);
  out.dw_families = run(cuda::weight_gradient_product(x.data(), dy.data(), c.T, c.N, c.K, list.data(),
                                                      std::ssize(rows), nullptr),
                        c.dw, c.N * c.K);
  // bf16 results: two per word, widened here.
  f.y_bf16 = true;
  const TensorProduct narrow = cuda::forward_product(f);
  if (tensor_kernel_fits(narrow, kernel)) {
    const DeviceInts bits((c.T * c.N + 1) / 2);
    TensorProduct here = narrow;
    here.d = bits.data();
    cuda::tensor_product(here, kernel, stream.get());
    const std::vector<int32_t> words = bits.values(stream);
    for (int64_t i = 0; i < c.T * c.N; ++i)
      out.y_bf16.push_back(f32_from_bf16(
          static_cast<uint16_t>(static_cast<uint32_t>(words[static_cast<size_t>(i / 2)]) >> (i % 2 * 16))));
  }
  return out;
}

void expect_same(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  if (!got.empty() && !want.empty()) expect_cpu_bits(got, want, what);
}

void expect_same(const TensorResult& got, const TensorResult& want, const std::string& what) {
  expect_same(got.y, want.y, what + " y");
  expect_same(got.y_biased, want.y_biased, what + " y with bias");
  expect_same(got.y_bf16, want.y_bf16, what + " y in bf16");
  expect_same(got.dx, want.dx, what + " dx");
  expect_same(got.dx_added, want.dx_added, what + " dx added");
  expect_same(got.dw, want.dw, what + " dW");
  expect_same(got.dw_families, want.dw_families, what + " dW of families");
}

// Sums in double, and the sums of the magnitudes. A(i, k) and B(j, k) give elements.
template <class A, class B>
void expect_near_exact(std::span<const float> got, int64_t I, int64_t J, int64_t K, const A& a, const B& b,
                       const std::vector<float>& held, const std::string& what, double relative = 0) {
  // Far above what rounding does (at most 2^-16.9 in matmul_bits_test), far below what a wrong element does.
  constexpr double kShare = 0x1p-14;
  ASSERT_EQ(std::ssize(got), I * J) << what;
  for (int64_t i = 0; i < I; ++i) {
    for (int64_t j = 0; j < J; ++j) {
      const auto at = static_cast<size_t>(i * J + j);
      double sum = held.empty() ? 0.0 : held[at], size = std::fabs(sum);
      for (int64_t k = 0; k < K; ++k) {
        const double product = static_cast<double>(a(i, k)) * b(j, k);
        sum += product;
        size += std::fabs(product);
      }
      const double error = std::fabs(got[at] - sum), bound = kShare * size + relative * std::fabs(sum);
      ASSERT_LE(error, bound) << what << " at " << i << ", " << j << ": " << got[at] << ", exact " << sum;
    }
  }
}

void expect_near_exact(const TensorCase& c, const TensorResult& r) {
  const auto x = [&](int64_t t, int64_t k) { return c.x[static_cast<size_t>(t * c.K + k)]; };
  const auto w = [&](int64_t n, int64_t k) { return c.w[static_cast<size_t>(n * c.K + k)]; };
  const auto dy = [&](int64_t t, int64_t n) { return c.dy[static_cast<size_t>(t * c.N + n)]; };
  std::vector<float> bias(static_cast<size_t>(c.T * c.N));
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = c.bias[i % static_cast<size_t>(c.N)];
  expect_near_exact(r.y, c.T, c.N, c.K, x, w, {}, c.name() + " y");
  expect_near_exact(r.y_biased, c.T, c.N, c.K, x, w, bias, c.name() + " y with bias");
  expect_near_exact(r.y_bf16, c.T, c.N, c.K, x, w, bias, c.name() + " y in bf16", 0x1p-8);
  const auto transposed_w = [&](int64_t k, int64_t n) { return w(n, k); };
  expect_near_exact(r.dx, c.T, c.K, c.N, dy, transposed_w, {}, c.name() + " dx");
  expect_near_exact(r.dx_added, c.T, c.K, c.N, dy, transposed_w, c.dx, c.name() + " dx added");
  expect_near_exact(
      r.dw, c.N, c.K, c.T, [&](int64_t n, int64_t t) { return dy(t, n); },
      [&](int64_t k, int64_t t) { return x(t, k); }, c.dw, c.name() + " dW");
  expect_near_exact(
      r.dw_families, c.N, c.K, c.T, [&](int64_t n, int64_t t) { return dy(t, n); },
      [&](int64_t k, int64_t t) { return x(t, k); }, c.dw, c.name() + " dW of families");
}

TEST_F(CudaTensorProduct, IsNearTheExactSumsOnRaggedShapes) {
  Random random(11);
  const auto pick = [&](std::initializer_list<int64_t> from) {
    return from.begin()[random.below(static_cast<int64_t>(from.size()))];
  };
  for (int i = 0; i < 24; ++i) {
    const TensorCase c(pick({1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 130}), pick({1, 5, 16, 48, 64, 70, 129, 136}),
                       pick({1, 8, 15, 16, 50, 72, 128, 200, 512, 1120}));
    TensorResult all = by_kernel(c, TensorKernel::small_tiles, i % 3);
    expect_near_exact(c, all);
    const TensorResult few = by_kernel(c, TensorKernel::few_rows, i % 3);
    all.y = few.y, all.y_biased = few.y_biased, all.y_bf16 = few.y_bf16;
    expect_near_exact(c, all);
  }
}

TEST_F(CudaTensorProduct, EveryKernelHasTheSameBits) {
  for (const auto& [T, N, K] : std::vector<std::array<int64_t, 3>>{
           {1, 64, 64},     {3, 40, 100},     {2, 1100, 1536},  {5, 5000, 192},    {8, 2300, 512},
           {13, 3, 16},     {16, 144, 576},   {32, 2200, 1280}, {17, 200, 8960},   {64, 96, 1024},
           {70, 130, 1536}, {128, 128, 4096}, {200, 264, 896},  {300, 33, 77},     {513, 72, 128},
           {193, 392, 768}, {700, 768, 72},   {65, 1032, 8},    {1000, 640, 1160}, {2000, 2592, 1792}}) {
    const TensorCase c(T, N, K);
    const TensorResult first = by_kernel(c, TensorKernel::small_tiles);
    for (const TensorKernel kernel : kKernels) {
      const std::string what = c.name() + ", kernel " + std::to_string(static_cast<int>(kernel));
      expect_same(by_kernel(c, kernel), first, what);
      expect_same(by_kernel(c, kernel, 1), first, what + ", not aligned");
    }
  }
}

// Shards of 96 and 160 k end in the middle of the stages of the wgmma kernels.
TEST_F(CudaTensorProduct, ShardsThatShareAStageHaveTheSameBits) {
  for (const auto& [T, N, K] :
       std::vector<std::array<int64_t, 3>>{{150, 200, 768}, {130, 768, 136}, {40, 144, 1280}}) {
    const TensorCase c(T, N, K);
    const TensorResult first = by_kernel(c, TensorKernel::small_tiles);
    for (const TensorKernel kernel : {TensorKernel::wgmma, TensorKernel::wgmma_wide})
      expect_same(by_kernel(c, kernel), first,
                  c.name() + ", kernel " + std::to_string(static_cast<int>(kernel)));
  }
}

// A kernel that fits nothing would pass every comparison.
TEST_F(CudaTensorProduct, FewRowsAreStreamed) {
  const TensorResult one = by_kernel(TensorCase(1, 96, 256), TensorKernel::streamed),
                     most = by_kernel(TensorCase(32, 96, 256), TensorKernel::streamed);
  for (const auto* values : {&one.y, &one.y_biased, &one.y_bf16, &most.y, &most.y_biased, &most.y_bf16})
    EXPECT_FALSE(values->empty());
}

TEST_F(CudaTensorProduct, EveryKernelComputesWhatItIsFor) {
  if (cuda::device_facts().major != 9) GTEST_SKIP() << "wgmma needs compute capability 9.0";
  for (const TensorKernel kernel : {TensorKernel::wgmma, TensorKernel::wgmma_wide}) {
    const TensorResult all = by_kernel(TensorCase(200, 264, 896), kernel);
    for (const auto* values : {&all.y, &all.y_biased, &all.y_bf16, &all.dx, &all.dx_added, &all.dw})
      EXPECT_FALSE(values->empty());
  }
  const TensorResult shards = by_kernel(TensorCase(200, 264, 896), TensorKernel::wgmma_shards);
  for (const auto* values : {&shards.y, &shards.y_biased, &shards.y_bf16}) EXPECT_FALSE(values->empty());
}

TEST_F(CudaTensorProduct, OneRowAloneEqualsItselfInAnyBatch) {
  for (const auto& [N, K] :
       std::vector<std::array<int64_t, 2>>{{200, 1536}, {96, 8960}, {130, 72}, {2048, 2048}}) {
    const TensorCase all(700, N, K);
    const DeviceBits w(all.w), dy(all.dy);
    const auto run = [&](int64_t first, int64_t T) {
      const cuda::Stream stream;
      const DeviceBits x(
          std::span<const float>(all.x).subspan(static_cast<size_t>(first * K), static_cast<size_t>(T * K)));
      const DeviceFloats y(T * N);
      cuda::tensor_product(
          cuda::forward_product(
              {.x = x.data(), .T = T, .w = w.data(), .N = N, .K = K, .y = y.data(), .most_shards = kShards}),
          stream.get());
      return y.values(stream);
    };
    const std::vector<float> together = run(0, all.T);
    for (const int64_t T : {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 65, 128, 256, 500}) {
      const int64_t first = all.T - T;
      expect_cpu_bits(run(first, T), std::span(together).subspan(static_cast<size_t>(first * N)),
                      all.name() + ", the last " + std::to_string(T) + " rows");
    }
  }
}

TEST_F(CudaTensorProduct, CutsBetweenFamiliesChangeNoBitOfAGradient) {
  const std::vector<int64_t> families = {33, 1, 16, 90, 7, 48};
  int64_t T = 0;
  for (const int64_t n : families) T += n;
  const TensorCase c(T, 70, 100);
  // The gradient of families [first, end), which continues what it held.
  const auto add = [&](size_t first, size_t end, std::vector<float> held) {
    const cuda::Stream stream;
    int64_t begin = 0, tokens = 0;
    for (size_t i = 0; i < end; ++i) (i < first ? begin : tokens) += families[i];
    const std::span<const int64_t> here(families.begin() + static_cast<int64_t>(first), end - first);
    const std::vector<int32_t> rows = token_step_rows(here);
    const auto part = [&](const std::vector<float>& all, int64_t width) {
      return std::span(all).subspan(static_cast<size_t>(begin * width), static_cast<size_t>(tokens * width));
    };
    const DeviceBits x(part(c.x, c.K)), dy(part(c.dy, c.N));
    const DeviceInts list(rows);
    const DeviceFloats dw(held);
    cuda::tensor_product(cuda::weight_gradient_product(x.data(), dy.data(), tokens, c.N, c.K, list.data(),
                                                       std::ssize(rows), dw.data()),
                         stream.get());
    return dw.values(stream);
  };
  const std::vector<float> whole = add(0, families.size(), c.dw);
  expect_near_exact(
      whole, c.N, c.K, c.T, [&](int64_t n, int64_t t) { return c.dy[static_cast<size_t>(t * c.N + n)]; },
      [&](int64_t k, int64_t t) { return c.x[static_cast<size_t>(t * c.K + k)]; }, c.dw, "dW in steps");
  for (size_t cut = 1; cut < families.size(); ++cut)
    expect_cpu_bits(add(cut, families.size(), add(0, cut, c.dw)), whole,
                    "cut before family " + std::to_string(cut));
}

// The gradient of a weight as training takes it: chains that run side by side are those of the plain product, one after
// the other, and cuts between families change nothing.
TEST_F(CudaTensorProduct, ChainsOfAGradientRunSideBySideWithTheirOwnBits) {
  const std::vector<int64_t> families = {33, 1, 16, 1500, 7, 48};
  for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{
           {70, 100}, {128, 256}, {200, 136}, {264, 776}, {1408, 2304}}) {
    int64_t T = 0;
    for (const int64_t n : families) T += n;
    const TensorCase c(T, N, K);
    const DeviceBits x(c.x), dy(c.dy);
    const auto split = [&](size_t first, size_t end, std::vector<float> held) {
      int64_t begin = 0;
      for (size_t i = 0; i < first; ++i) begin += families[i];
      const std::span<const int64_t> here(families.begin() + static_cast<int64_t>(first), end - first);
      const std::vector<int32_t> rows = token_step_rows(here);
      const DeviceInts list(rows);
      DeviceRun r(false);
      r.ctx.numerics = Numerics::cuda_bf16;
      const TokenSteps steps{.families = here, .rows = rows, .device = list.data()};
      r.ctx.steps = &steps;
      const Tensor dw = r.input({c.N, c.K}, held);
      r.poison(size_t{8} << 20);
      cuda::split_weight_gradient(r.ctx, x.data() + begin * c.K, dy.data() + begin * c.N, c.N, c.K, dw.f32());
      return r.values(dw);
    };
    // Chains of the small tiles' kernel, added on the host.
    std::vector<float> want = c.dw;
    int64_t token = 0;
    for (const int64_t n : families) {
      for (int64_t begin = 0; begin < n; begin += cuda::kChainSteps * kTokenStep) {
        const int64_t tokens = std::min(n - begin, cuda::kChainSteps * kTokenStep);
        const cuda::Stream stream;
        const DeviceFloats chain(std::vector<float>(static_cast<size_t>(c.N * c.K)));
        cuda::tensor_product(
            cuda::weight_gradient_product(x.data() + (token + begin) * c.K, dy.data() + (token + begin) * c.N,
                                          tokens, c.N, c.K, nullptr, 0, chain.data()),
            TensorKernel::small_tiles, stream.get());
        const std::vector<float> sums = chain.values(stream);
        for (size_t i = 0; i < want.size(); ++i) want[i] += sums[i];
      }
      token += n;
    }
    const std::string what = std::to_string(N) + " x " + std::to_string(K);
    expect_cpu_bits(split(0, families.size(), c.dw), want, what);
    if (N * K > 1 << 20) continue;  // blocks walk all chains of their tiles
    for (size_t cut = 1; cut < families.size(); ++cut)
      expect_cpu_bits(split(cut, families.size(), split(0, cut, c.dw)), want,
                      what + " cut before " + std::to_string(cut));
  }
}

// Chains that are walked, and chains side by side in tiles of every width, a few at a time or all.
TEST_F(CudaTensorProduct, EveryPlanOfChainsHasTheSameBits) {
  if (!cuda::wgmma_takes_chains(8, 8)) GTEST_SKIP() << "wgmma needs compute capability 9.0";
  std::vector<cuda::TokenChain> chains;
  int64_t T = 0;
  for (const int32_t tokens : {64, 1, 130, 16, 33, 96, 48, 7, 20}) {
    chains.push_back({.first = static_cast<int32_t>(T), .count = tokens});
    T += tokens;
  }
  std::vector<int32_t> words;
  for (const cuda::TokenChain& chain : chains) words.insert(words.end(), {chain.first, chain.count});
  const DeviceInts list(words);
  for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{8, 16}, {136, 200}, {264, 392}}) {
    const cuda::Stream stream;
    const TensorCase c(T, N, K);
    const DeviceBits x(c.x), dy(c.dy);
    const auto by_plan = [&](const cuda::ChainPlan& plan) {
      const DeviceFloats dw(c.dw), sums(plan.floats);
      const DeviceInts stored(plan.words);
      cuda::wgmma_add_chains(
          cuda::weight_gradient_product(x.data(), dy.data(), T, N, K, nullptr, 0, dw.data()), plan,
          {.list = reinterpret_cast<const cuda::TokenChain*>(list.data()),
           .count = std::ssize(chains),
           .sums = sums.data(),
           .words = reinterpret_cast<uint32_t*>(stored.data())},
          stream.get());
      return dw.values(stream);
    };
    const std::vector<float> walked = by_plan({.columns = 192});
    for (const int64_t columns : {128, 192}) {
      for (const int64_t at_once : {1, 4, 6, 9})
        expect_cpu_bits(by_plan(cuda::wgmma_chains_apart(N, K, columns, at_once)), walked,
                        c.name() + ", tiles of " + std::to_string(columns) + " columns, " +
                            std::to_string(at_once) + " at once");
    }
  }
}

TEST_F(CudaTensorProduct, NaNAndInfinityStayInTheirRows) {
  for (const auto& [T, K] : std::vector<std::array<int64_t, 2>>{{3, 90}, {3, 96}, {40, 90}, {200, 90}}) {
    TensorCase c(T, 150, K);
    const TensorResult clean = by_kernel(c, TensorKernel::small_tiles);
    c.x[static_cast<size_t>(1 * c.K + 5)] = std::numeric_limits<float>::quiet_NaN();
    c.w[static_cast<size_t>(20 * c.K + 89)] = std::numeric_limits<float>::infinity();
    for (const TensorKernel kernel : kKernels) {
      const TensorResult dirty = by_kernel(c, kernel);
      if (dirty.y.empty()) continue;
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t n = 0; n < c.N; ++n) {
          const auto at = static_cast<size_t>(t * c.N + n);
          if (t == 1 || n == 20) {
            EXPECT_FALSE(std::isfinite(dirty.y[at])) << t << ", " << n;
          } else {
            EXPECT_EQ(dirty.y[at], clean.y[at]) << t << ", " << n;
          }
        }
      }
    }
  }
}

TEST_F(CudaTensorProduct, NaNAndInfinityHaveTheSameBitsFromEveryKernel) {
  TensorCase c(200, 152, 96);
  c.x[static_cast<size_t>(1 * c.K + 5)] = std::numeric_limits<float>::quiet_NaN();
  c.x[static_cast<size_t>(77 * c.K)] = -std::numeric_limits<float>::infinity();
  c.w[static_cast<size_t>(20 * c.K + 89)] = std::numeric_limits<float>::infinity();
  c.bias[30] = std::numeric_limits<float>::quiet_NaN();
  const TensorResult first = by_kernel(c, TensorKernel::small_tiles);
  for (const TensorKernel kernel : kKernels) {
    const TensorResult here = by_kernel(c, kernel);
    for (const auto& [got, want] : {std::pair(&here.y_bf16, &first.y_bf16), std::pair(&here.y, &first.y)}) {
      for (size_t i = 0; i < got->size(); ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>((*got)[i]), std::bit_cast<uint32_t>((*want)[i]))
            << "kernel " << static_cast<int>(kernel) << " at " << i;
    }
  }
}

TEST_F(CudaTensorProduct, TakesNothing) {
  for (const TensorKernel kernel : kKernels) {
    by_kernel(TensorCase(0, 5, 7), kernel);
    by_kernel(TensorCase(5, 0, 7), kernel);
    const TensorResult none = by_kernel(TensorCase(5, 7, 0), kernel);
    for (const float v : none.y) EXPECT_EQ(v, 0.0f);
  }
}

// Products of decoding whose shards are computed side by side, and several products in one launch.
TEST_F(CudaTensorProduct, PartsAndListsHaveTheBitsOfOneProduct) {
  const cuda::Stream stream;
  for (const auto& [T, N, K] : std::vector<std::array<int64_t, 3>>{
           {200, 1024, 4096}, {65, 2500, 2048}, {33, 5000, 3072}, {512, 330, 8960}}) {
    const TensorCase c(T, N, K);
    const DeviceBits x(c.x), w(c.w);
    const DeviceFloats bias(c.bias);
    const auto product_into = [&](const DeviceFloats& out) {
      return cuda::forward_product({.x = x.data(),
                                    .T = T,
                                    .w = w.data(),
                                    .N = N,
                                    .K = K,
                                    .bias = bias.data(),
                                    .y = out.data(),
                                    .most_shards = kShards});
    };
    const DeviceFloats whole(T * N), split(T * N), sums(8 * T * N), first(T * N), second(T * N);
    cuda::tensor_product(product_into(whole), TensorKernel::small_tiles, stream.get());
    const TensorProduct parted = product_into(split);
    cuda::tensor_product_in_parts(parted, sums.data(), stream.get());
    expect_cpu_bits(split.values(stream), whole.values(stream), c.name() + " in parts");
    const std::array list{product_into(first), product_into(second)};
    cuda::tensor_products_of(list, stream.get());
    expect_cpu_bits(first.values(stream), whole.values(stream), c.name() + ", first of two");
    expect_cpu_bits(second.values(stream), whole.values(stream), c.name() + ", second of two");
  }
  // Lists of every kernel: few rows, tiles with many stages.
  for (const int64_t T : {1, 9, 20, 64, 1500}) {
    const TensorCase a(T, 96, 640), b(T, 640, 640);
    const DeviceBits x(a.x), wa(a.w), wb(b.w);
    const DeviceFloats alone_a(T * 96), alone_b(T * 640), ya(T * 96), yb(T * 640);
    const auto product_of = [&](const DeviceBits& w, int64_t N, const DeviceFloats& out) {
      return cuda::forward_product(
          {.x = x.data(), .T = T, .w = w.data(), .N = N, .K = 640, .y = out.data(), .most_shards = kShards});
    };
    cuda::tensor_product(product_of(wa, 96, alone_a), TensorKernel::large_tiles, stream.get());
    cuda::tensor_product(product_of(wb, 640, alone_b), TensorKernel::large_tiles, stream.get());
    const std::array list{product_of(wa, 96, ya), product_of(wb, 640, yb)};
    cuda::tensor_products_of(list, stream.get());
    expect_cpu_bits(ya.values(stream), alone_a.values(stream), "list, " + a.name());
    expect_cpu_bits(yb.values(stream), alone_b.values(stream), "list, " + b.name());
  }
}

}  // namespace
}  // namespace r1
