#include "ops/matmul/quant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "ops/matmul/quant_dot.h"
#include "tensor/blocks.h"
#include "tests/ops/quant_util.h"

namespace r1::quant_test {
namespace {

struct Case {
  Format format;
  int64_t M, N, K;
};

std::vector<float> random_floats(int64_t n, uint64_t seed) {
  Random random(seed, 77);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) v = static_cast<float>(random.normal());
  return out;
}

std::vector<std::byte> packed(Format format, const std::vector<std::byte>& rows, int64_t N, int64_t K) {
  std::vector<std::byte> out(static_cast<size_t>(quant_bytes(format, N, K)));
  const int64_t row = bytes_of(format, K);
  for (int64_t n = 0; n < N; n += kQuantPanel)
    pack_quant_panel(format, rows.data() + n * row, std::min(kQuantPanel, N - n), K,
                     out.data() + n / kQuantPanel * quant_panel_bytes(format, K));
  return out;
}

std::vector<float> product(ThreadPool& threads, const Case& c, const std::vector<std::byte>& rows,
                           const std::vector<float>& x) {
  const std::vector<std::byte> panels = packed(c.format, rows, c.N, c.K);
  std::vector<std::byte> q(static_cast<size_t>(c.M * QuantRowLayout(c.format, c.K).bytes));
  quantise_rows(c.format, x.data(), c.M, c.K, q.data());
  std::vector<float> y(static_cast<size_t>(c.M * c.N), -1.0f);
  const QuantProduct p{.w = {c.format, c.N, c.K, panels.data()}, .x = q.data(), .M = c.M, .y = y.data()};
  quant_products(threads, {&p, 1});
  return y;
}

void expect_bits(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(want[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << what << " at " << i << ": got " << got[i] << ", want " << want[i];
  }
}

std::string words_of(const Case& c, std::string_view kernel) {
  return std::string(name_of(c.format)) + " M " + std::to_string(c.M) + " N " + std::to_string(c.N) + " K " +
         std::to_string(c.K) + ", " + std::string(kernel);
}

TEST(Quant, EveryKernelGivesTheContractsBitsOnRaggedShapes) {
  ThreadPool one(1), three(3);
  int kernels = 0;
  for (const QuantKernel& kernel : quant_kernels()) {
    if (!kernel.usable) continue;
    ++kernels;
    const WithQuantKernel chosen(kernel);
    for (const Format format : block_formats()) {
      const int64_t block = row_of(format).elements;
      const Case cases[] = {{format, 1, 1, block},
                            {format, 1, 50, 9 * block},
                            {format, 2, 16, 3 * block},
                            {format, 5, 33, 2 * block},
                            {format, 13, 17, 2304 / block * block},
                            {format, 29, 7, block}};
      for (const Case& c : cases) {
        const auto rows = random_blocks(format, c.N * c.K, static_cast<uint64_t>(c.M));
        const auto x = random_floats(c.M * c.K, static_cast<uint64_t>(c.N));
        std::vector<float> want(static_cast<size_t>(c.M * c.N));
        ref::quant_matmul(format, rows.data(), x.data(), nullptr, c.M, c.N, c.K, want.data());
        expect_bits(product(one, c, rows, x), want, words_of(c, kernel.name));
        expect_bits(product(three, c, rows, x), want, words_of(c, kernel.name) + ", three threads");
      }
    }
  }
  EXPECT_GE(kernels, 1);
}

// scripts/arm64.sh names the kernel that each of its processors must run.
TEST(Quant, ProductsRunOnTheFirstUsableKernel) {
  const auto kernels = quant_kernels();
  const auto first = std::ranges::find_if(kernels, [](const QuantKernel& kernel) { return kernel.usable; });
  ASSERT_NE(first, kernels.end());
  EXPECT_EQ(&quant_kernel(), &*first);
  if (const char* name = std::getenv("R1_TEST_QUANT_KERNEL")) {
    EXPECT_EQ(quant_kernel().name, name);
  }
}

// Small weights have scales that are denormal as f16, or zero.
TEST(Quant, DenormalScalesKeepTheirValues) {
  ThreadPool threads(1);
  for (const Format format : block_formats()) {
    const Case c{format, 3, 17, 2 * row_of(format).elements};
    auto rows = random_blocks(format, c.N * c.K, 6);
    const ScalePlaces places = scale_places(format);
    uint16_t half = 1;  // 2^-24, the least
    for (size_t at = 0; at < rows.size(); at += static_cast<size_t>(row_of(format).bytes), half += 61)
      for (const int place : {places.d, places.dmin}) {
        const auto scale = static_cast<uint16_t>((half % 0x400) | (half % 3 == 0 ? 0x8000 : 0));
        if (place >= 0) std::memcpy(rows.data() + at + static_cast<size_t>(place), &scale, 2);
      }
    const auto x = random_floats(c.M * c.K, 7);
    std::vector<float> want(static_cast<size_t>(c.M * c.N));
    ref::quant_matmul(format, rows.data(), x.data(), nullptr, c.M, c.N, c.K, want.data());
    EXPECT_NE(std::ranges::count_if(want, [](float v) { return v != 0; }), 0) << name_of(format);
    expect_bits(product(threads, c, rows, x), want, words_of(c, "denormal scales"));
  }
}

// The largest integers of every format: nothing saturates or overflows.
TEST(Quant, ExtremeWeightsAndActivationsAreExact) {
  ThreadPool threads(2);
  for (const QuantKernel& kernel : quant_kernels()) {
    if (!kernel.usable) continue;
    const WithQuantKernel chosen(kernel);
    for (const Format format : block_formats())
      for (const int fill : {0x00, 0x80, 0xFF, 0x7F, 0x0F, 0xF0}) {
        const Case c{format, 9, 18, 2 * row_of(format).elements};
        std::vector<std::byte> rows(static_cast<size_t>(bytes_of(format, c.N * c.K)), std::byte(fill));
        const ScalePlaces places = scale_places(format);
        for (size_t at = 0; at < rows.size(); at += static_cast<size_t>(row_of(format).bytes))
          for (const int place : {places.d, places.dmin}) {
            const uint16_t half = 0x3C00;  // 1
            if (place >= 0) std::memcpy(rows.data() + at + static_cast<size_t>(place), &half, 2);
          }
        std::vector<float> x(static_cast<size_t>(c.M * c.K));
        for (size_t i = 0; i < x.size(); ++i) {
          const size_t row = i / static_cast<size_t>(c.K);
          x[i] = row == 0 ? 1.0f : row == 1 ? -1.0f : (i * 7 + row) % 3 == 0 ? 1.0f : -1.0f;
        }
        std::vector<float> want(static_cast<size_t>(c.M * c.N));
        ref::quant_matmul(format, rows.data(), x.data(), nullptr, c.M, c.N, c.K, want.data());
        expect_bits(product(threads, c, rows, x), want,
                    words_of(c, kernel.name) + " of " + std::to_string(fill));
      }
  }
}

TEST(Quant, HostileActivationsAreDefined) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  ThreadPool threads(1);
  for (const QuantKernel& kernel : quant_kernels()) {
    if (!kernel.usable) continue;
    const WithQuantKernel chosen(kernel);
    for (const Format format : {Format::q8_0, Format::q4_1, Format::q4_k, Format::q6_k}) {
      const Case c{format, 8, 20, row_of(format).elements};
      const auto rows = random_blocks(format, c.N * c.K, 3);
      std::vector<float> x = random_floats(c.M * c.K, 4);
      const auto row = [&](int64_t m) { return x.begin() + m * c.K; };
      std::fill_n(row(0), c.K, 0.0f);
      std::fill_n(row(1), c.K, -0.0f);
      std::fill_n(row(2), c.K, 1e-42f);
      std::fill_n(row(3), c.K, 0x1p-119f);
      row(4)[3] = kNan;
      row(5)[7] = -kInf;
      std::fill_n(row(6), c.K, std::numeric_limits<float>::max());
      for (int64_t i = 0; i < c.K; ++i) row(7)[i] = static_cast<float>(i % 128) + 0.5f;  // halves: to even
      std::vector<float> want(static_cast<size_t>(c.M * c.N));
      ref::quant_matmul(format, rows.data(), x.data(), nullptr, c.M, c.N, c.K, want.data());
      const std::vector<float> got = product(threads, c, rows, x);
      expect_bits(got, want, words_of(c, kernel.name));
      for (int64_t n = 0; n < c.N; ++n) {
        EXPECT_EQ(got[static_cast<size_t>(n)], 0.0f);
        EXPECT_EQ(got[static_cast<size_t>(2 * c.N + n)], 0.0f);
        EXPECT_TRUE(std::isnan(got[static_cast<size_t>(4 * c.N + n)]));
        EXPECT_TRUE(std::isnan(got[static_cast<size_t>(5 * c.N + n)]));
      }
    }
  }
}

TEST(Quant, ARowOfPanelsIsTheStoredRow) {
  for (const Format format : block_formats()) {
    const int64_t N = 21, K = 3 * row_of(format).elements, row = bytes_of(format, K);
    const auto rows = random_blocks(format, N * K, 9);
    const auto panels = packed(format, rows, N, K);
    std::vector<std::byte> got(static_cast<size_t>(row));
    for (int64_t n = 0; n < N; ++n) {
      unpack_quant_row({format, N, K, panels.data()}, n, got.data());
      EXPECT_EQ(std::memcmp(got.data(), rows.data() + n * row, got.size()), 0) << name_of(format) << " " << n;
    }
    EXPECT_LE(quant_bytes(format, 1024, 1536), bytes_of(format, 1024 * 1536) * 101 / 100) << name_of(format);
  }
}

TEST(Quant, TheIntegersOfABlockAreItsNumbers) {
  for (const Format format : block_formats()) {
    const int64_t elements = row_of(format).elements, sub = sub_block(format);
    const auto rows = random_blocks(format, 64 * elements, 5);
    std::vector<float> want(static_cast<size_t>(64 * elements));
    dequantise_blocks(format, rows, want);
    BlockNumbers block;
    for (int64_t b = 0; b < 64; ++b) {
      read_block(format, rows.data() + b * row_of(format).bytes, block);
      for (int64_t i = 0; i < elements; ++i) {
        const float scale = block.d * block.scale[i / sub], least = block.dmin * block.least[i / sub];
        float value = scale * block.q[i];
        if (has_minimum(format)) value -= least;
        ASSERT_EQ(value, want[static_cast<size_t>(b * elements + i)]) << name_of(format) << " " << i;
        ASSERT_LE(std::abs(block.q[i]), 128);
      }
    }
  }
}

TEST(Quant, ADamagedScaleIsFound) {
  for (const Format format : block_formats())
    for (const uint16_t half : {uint16_t{0x7C00}, uint16_t{0xFE01}}) {
      auto rows = random_blocks(format, 8 * row_of(format).elements, 2);
      EXPECT_EQ(first_bad_scale(format, rows), -1) << name_of(format);
      const ScalePlaces places = scale_places(format);
      const int place = places.dmin >= 0 ? places.dmin : places.d;
      std::memcpy(rows.data() + 5 * row_of(format).bytes + place, &half, 2);
      EXPECT_EQ(first_bad_scale(format, rows), 5 * row_of(format).elements) << name_of(format);
    }
}

}  // namespace
}  // namespace r1::quant_test
