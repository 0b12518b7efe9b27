// FP8 weights: every code is its number, scales belong to blocks of 128 x 128 whose last ones may be cut, and
// any range is that range of the whole.
#include "tensor/fp8.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/integers.h"
#include "base/random.h"

namespace r1::fp8_test {
namespace {

class Fp8Bytes final : public StoredBytes {
 public:
  explicit Fp8Bytes(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    R1_CHECK(begin + to.size() <= bytes_.size(), "beyond the end");
    std::memcpy(to.data(), bytes_.data() + begin, to.size());
  }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "somewhere.safetensors";
};

Stored fp8(int64_t n, int64_t k, const std::vector<uint8_t>& codes, const std::vector<float>& scales) {
  const auto of = std::make_shared<const Stored>(
      Stored{.name = "w_scale_inv",
             .format = Format::f32,
             .shape = {ceil_div(n, kFp8Block), ceil_div(k, kFp8Block)},
             .begin = 0,
             .owner = std::make_shared<Fp8Bytes>(std::as_bytes(std::span(scales))),
             .scales = nullptr});
  return {.name = "w",
          .format = Format::f8_e4m3,
          .shape = {n, k},
          .begin = 0,
          .owner = std::make_shared<Fp8Bytes>(std::as_bytes(std::span(codes))),
          .scales = of};
}

// By the definition in OCP's specification of 8-bit floating point.
double number_of(int code) {
  const int e = code >> 3 & 15, m = code & 7;
  const double magnitude = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  return (code & 128) != 0 ? -magnitude : magnitude;
}

TEST(Fp8, EveryCodeIsItsNumber) {
  std::vector<uint8_t> codes(256);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
  std::vector<float> got(256);
  widen_e4m3(std::as_bytes(std::span(codes)), got);
  for (int i = 0; i < 256; ++i) {
    if ((i & 127) == 127) {
      EXPECT_TRUE(std::isnan(got[static_cast<size_t>(i)])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(got[static_cast<size_t>(i)]),
                std::bit_cast<uint32_t>(static_cast<float>(number_of(i))))
          << i;
    }
  }
}

struct Case {
  Case(int64_t rows, int64_t columns) : n(rows), k(columns) {
    Random random(static_cast<uint64_t>(rows * 1000 + columns));
    for (int64_t i = 0; i < n * k; ++i)
      codes.push_back(static_cast<uint8_t>(random.below(127) + 128 * random.below(2)));
    for (int64_t i = 0; i < ceil_div(n, kFp8Block) * ceil_div(k, kFp8Block); ++i)
      scales.push_back(static_cast<float>(std::exp(random.normal())));
    for (int64_t i = 0; i < n * k; ++i) {
      const int64_t block = i / k / 128 * ceil_div(k, kFp8Block) + i % k / 128;
      want.push_back(static_cast<float>(number_of(codes[static_cast<size_t>(i)])) *
                     scales[static_cast<size_t>(block)]);
    }
  }
  Stored stored() const { return fp8(n, k, codes, scales); }
  int64_t n, k;
  std::vector<uint8_t> codes;
  std::vector<float> scales, want;
};

TEST(Fp8, BlocksMayBeCut) {
  for (const auto& [n, k] : {std::pair(128, 128), std::pair(1, 1), std::pair(127, 129), std::pair(130, 300),
                             std::pair(257, 128), std::pair(3, 1000), std::pair(1000, 3)}) {
    const Case c(n, k);
    std::vector<float> got(c.want.size());
    c.stored().read(0, got);
    EXPECT_TRUE(got == c.want) << n << " x " << k;
    std::vector<uint16_t> bits(c.want.size());
    c.stored().read(0, bits);
    for (size_t i = 0; i < bits.size(); ++i) ASSERT_EQ(bits[i], bf16_from_f32(c.want[i])) << i;
  }
}

TEST(Fp8, AnyRangeIsThatRangeOfTheWhole) {
  const Case c(200, 333);
  const Stored stored = c.stored();
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    const int64_t first = random.below(c.n * c.k), count = random.below(c.n * c.k - first + 1);
    std::vector<float> got(static_cast<size_t>(count));
    stored.read(first, got);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), c.want.begin() + first)) << first << " " << count;
  }
}

TEST(Fp8, CodesThatAreNoNumbersAreNamed) {
  Case c(130, 140);
  c.codes[129 * 140 + 7] = 0xFF;
  try {
    check_finite(c.stored());
    ADD_FAILURE() << "not refused";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "somewhere.safetensors: tensor w is NaN at [129, 7]: the weights are damaged");
  }
}

TEST(Fp8, ScalesThatAreNoPositiveNumbersAreNamed) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [value, what] :
       {std::pair(nan, "NaN"), std::pair(inf, "infinite"), std::pair(0.0f, "0"), std::pair(-0.0f, "0"),
        std::pair(-1.0f, "negative"), std::pair(-inf, "infinite")}) {
    Case c(200, 300);
    EXPECT_NO_THROW(check_fp8_scales(c.stored()));
    c.scales[4] = value;
    try {
      check_fp8_scales(c.stored());
      ADD_FAILURE() << "not refused: " << value;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()),
                std::string("somewhere.safetensors: tensor w_scale_inv is ") + what +
                    " at [1, 1]; a scale must be a positive number: the weights are damaged");
    }
  }
}

}  // namespace
}  // namespace r1::fp8_test
