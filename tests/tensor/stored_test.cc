// Stored tensors: every format is read as it is, parts of a stack share an owner, and what is not finite is
// named by its index.
#include "tensor/stored.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"

namespace r1::stored_test {
namespace {

class Bytes final : public StoredBytes {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    R1_CHECK(begin + to.size() <= bytes_.size(), "beyond the end");
    std::memcpy(to.data(), bytes_.data() + begin, to.size());
  }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "somewhere.safetensors";
};

template <class T>
Stored stored(Format format, Shape shape, const std::vector<T>& values) {
  return {.name = "w",
          .format = format,
          .shape = shape,
          .begin = 0,
          .owner = std::make_shared<Bytes>(std::as_bytes(std::span(values))),
          .scales = nullptr};
}

std::string error_of(const auto& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Stored, EveryF16IsWidenedExactly) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> got(all.size());
  stored(Format::f16, {65536}, all).read(0, got);
  for (size_t i = 0; i < all.size(); ++i) {
    const float want = f32_from_f16(all[i]);
    if (std::isnan(want)) {
      EXPECT_TRUE(std::isnan(got[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want)) << i;
    }
  }
}

TEST(Stored, PiecesOfAnySizeAndPlaceAreTheSameValues) {
  std::vector<double> wide(20000);
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = 0.1 * static_cast<double>(i);
  const Stored s = stored(Format::f64, {200, 100}, wide);
  std::vector<float> part(9001);
  s.read(777, part);
  for (size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part[i], static_cast<float>(wide[777 + i]));
  std::vector<uint16_t> bits(9001);
  s.read(777, bits);
  for (size_t i = 0; i < bits.size(); ++i) ASSERT_EQ(bits[i], bf16_from_f32(part[i]));
  EXPECT_THROW(s.read(20000 - 9000, part), BrokenInvariant);
}

TEST(Stored, APartOfAStackIsTheSameBytes) {
  std::vector<float> values(3 * 4 * 5);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Stored stack = stored(Format::f32, {3, 4, 5}, values), expert = stack.part(2);
  EXPECT_EQ(expert.shape, Shape({4, 5}));
  EXPECT_EQ(expert.owner, stack.owner);
  std::vector<float> got(20);
  expert.read(0, got);
  EXPECT_EQ(got, std::vector<float>(values.begin() + 40, values.end()));
  EXPECT_THROW(stack.part(3), BrokenInvariant);
}

TEST(Stored, WhatIsNotFiniteIsNamedByItsIndex) {
  std::vector<float> values(12000, 1.0f);
  values[9007] = -std::numeric_limits<float>::infinity();
  const std::string error = error_of([&] { check_finite(stored(Format::f32, {120, 100}, values)); });
  EXPECT_EQ(error, "somewhere.safetensors: tensor w is infinite at [90, 7]: the weights are damaged");
  std::vector<uint16_t> bits(6, bf16_from_f32(1));
  bits[5] = 0x7FC0;
  const Stored narrow = stored(Format::bf16, {2, 3}, bits);
  EXPECT_NE(error_of([&] { check_finite(narrow); }).find("is NaN at [1, 2]"), std::string::npos);
  Buffer memory({2, 3}, DType::bf16);
  EXPECT_NE(error_of([&] { read_finite(narrow, host_memory(), memory.tensor()); }).find("is NaN at [1, 2]"),
            std::string::npos);
  values[9007] = 0;
  EXPECT_EQ(error_of([&] { check_finite(stored(Format::f32, {120, 100}, values)); }), "");
}

}  // namespace
}  // namespace r1::stored_test
