#include "formats/gguf_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "formats/gguf_file.h"
#include "tests/formats/formats_test_util.h"

namespace r1::gguf_blocks_test {
namespace {

GgufFile blocks_file() {
  return GgufFile(std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/blocks.gguf");
}

std::vector<float> floats_of(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.find(name);
  if (tensor == nullptr) throw Error("no tensor " + std::string(name));
  std::vector<float> out(static_cast<size_t>(tensor->count()));
  read_as_f32(file, *tensor, out);
  return out;
}

std::optional<GgufType> type_named(std::string_view name) {
  for (size_t i = 0; i < kGgufTypes; ++i) {
    if (name_of(static_cast<GgufType>(i)) == name) return static_cast<GgufType>(i);
  }
  return std::nullopt;
}

TEST(GgufBlocks, EveryTypeGivesTheReferencePackagesBits) {
  const GgufFile file = blocks_file();
  int types = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    if (type_named(tensor.name) != tensor.type) continue;
    ++types;
    std::vector<float> got = floats_of(file, tensor.name);
    const std::vector<float> want = floats_of(file, tensor.name + ".f32");
    ASSERT_EQ(got.size(), want.size()) << tensor.name;
    size_t finite = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::isnan(got[i])) got[i] = std::bit_cast<float>(0x7FC00000u);
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
          << tensor.name << " at " << i << ": got " << got[i] << ", want " << want[i];
      finite += std::isfinite(want[i]) && want[i] != 0.0f ? 1 : 0;
    }
    EXPECT_GT(2 * finite, want.size()) << tensor.name;
  }
  EXPECT_EQ(types, 19);
}

TEST(GgufBlocks, PlainRoundingGivesTheReferencePackagesBytes) {
  const GgufFile file = blocks_file();
  const std::vector<float> numbers = floats_of(file, "numbers");
  int types = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with("numbers.")) continue;
    // The others have a search (gguf_quantize_test.cc).
    if (tensor.type != GgufType::f16 && tensor.type != GgufType::bf16 && tensor.type != GgufType::q8_0)
      continue;
    ++types;
    ASSERT_TRUE(can_quantize(tensor.type)) << tensor.name;
    const std::span<const std::byte> want = file.map(tensor);
    std::vector<std::byte> got(want.size());
    quantize(tensor.type, numbers, got);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(static_cast<int>(got[i]), static_cast<int>(want[i])) << tensor.name << " byte " << i;
  }
  EXPECT_EQ(types, 3);
}

TEST(GgufBlocks, ANumberBeyondTheTypeIsAnError) {
  std::vector<float> numbers(32, 1e9f);
  std::vector<std::byte> out(34);
  EXPECT_EQ(error_of([&] { quantize(GgufType::q8_0, numbers, out); }),
            "a scale of 7874015.5 does not fit in Q8_0, whose scales are f16");
  std::vector<std::byte> halves(64);
  EXPECT_EQ(error_of([&] { quantize(GgufType::f16, numbers, halves); }),
            "the number 1000000000 does not fit in F16");
  numbers.assign(32, 1e-40f);  // too small for a scale: zeros
  quantize(GgufType::q8_0, numbers, out);
  std::vector<float> back(32, 1.0f);
  dequantize(GgufType::q8_0, out, back);
  EXPECT_EQ(back, std::vector<float>(32, 0.0f));
}

TEST(GgufBlocks, ATypeWithoutValuesIsRefusedByName) {
  EXPECT_FALSE(can_dequantize(GgufType::iq1_s));
  EXPECT_FALSE(can_dequantize(GgufType::i32));
  EXPECT_FALSE(can_quantize(GgufType::iq2_xs));
  EXPECT_TRUE(can_quantize(GgufType::q4_k));
  EXPECT_TRUE(can_dequantize(GgufType::q4_k));
}

}  // namespace
}  // namespace r1::gguf_blocks_test
