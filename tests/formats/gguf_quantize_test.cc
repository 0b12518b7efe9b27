// Blocks that a search has made: what they stand for, and how far that is from the numbers.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_file.h"
#include "tests/formats/formats_test_util.h"

namespace r1::gguf_quantize_test {
namespace {

constexpr GgufType kSearched[] = {GgufType::q8_0, GgufType::q6_k, GgufType::q5_k,   GgufType::q5_1,
                                  GgufType::q5_0, GgufType::q4_k, GgufType::q4_1,   GgufType::q4_0,
                                  GgufType::q3_k, GgufType::q2_k, GgufType::iq4_xs, GgufType::iq4_nl};

std::vector<std::byte> blocks_of(GgufType type, std::span<const float> x,
                                 std::span<const float> importance = {}) {
  std::vector<std::byte> out(x.size() / static_cast<size_t>(row_of(type).block) *
                             static_cast<size_t>(row_of(type).bytes));
  quantize(type, x, out, importance);
  return out;
}

std::vector<float> there_and_back(GgufType type, std::span<const float> x,
                                  std::span<const float> importance = {}) {
  std::vector<float> out(x.size());
  dequantize(type, blocks_of(type, x, importance), out);
  return out;
}

double relative_error(std::span<const float> x, std::span<const float> y) {
  double off = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    off += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    all += std::pow(static_cast<double>(x[i]), 2);
  }
  return std::sqrt(off / all);
}

std::vector<float> normal_numbers(size_t count, double scale, uint64_t seed) {
  Random random(seed, 1);
  std::vector<float> out(count);
  for (float& v : out) v = static_cast<float>(random.normal() * scale);
  return out;
}

// tests/ref/quantize_golden.py has the gguf package dequantise blocks that r1 made of the tensor "numbers".
TEST(GgufQuantize, BlocksAreTheGoldenOnesAndTheReferencePackageReadsThemAsWeDo) {
  const GgufFile file(std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/quantized.gguf");
  std::vector<float> numbers(static_cast<size_t>(file.find("numbers")->count()));
  read_as_f32(file, *file.find("numbers"), numbers);
  for (const GgufType type : kSearched) {
    const GgufTensor* const stored = file.find(name_of(type));
    const GgufTensor* const read = file.find(std::string(name_of(type)) + ".f32");
    ASSERT_TRUE(stored != nullptr && read != nullptr) << name_of(type);
    const auto width = static_cast<size_t>(stored->shape.back());
    std::vector<std::byte> got;
    for (size_t at = 0; at < numbers.size(); at += width) {
      const std::vector<std::byte> row = blocks_of(type, std::span(numbers).subspan(at, width));
      got.insert(got.end(), row.begin(), row.end());
    }
    const std::span<const std::byte> want = file.map(*stored);
    ASSERT_EQ(got.size(), want.size()) << name_of(type);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(static_cast<int>(got[i]), static_cast<int>(want[i])) << name_of(type) << " byte " << i;
    std::vector<float> ours(numbers.size()), theirs(numbers.size());
    dequantize(type, got, ours);
    read_as_f32(file, *read, theirs);
    EXPECT_EQ(ours, theirs) << name_of(type);
  }
}

// The relative RMS of llama.cpp's blocks of random-normal numbers, from bench/results/2026-11-29-quantize.txt.
TEST(GgufQuantize, TheErrorOfNormalNumbersIsNoLargerThanLlamaCpps) {
  const std::pair<GgufType, double> kMost[] = {
      {GgufType::q8_0, 0.005349},  {GgufType::q6_k, 0.017754}, {GgufType::q5_k, 0.03612},
      {GgufType::q5_1, 0.037858},  {GgufType::q5_0, 0.04267},  {GgufType::q4_k, 0.071347},
      {GgufType::q4_1, 0.078203},  {GgufType::q4_0, 0.085898}, {GgufType::iq4_nl, 0.076117},
      {GgufType::iq4_xs, 0.07671}, {GgufType::q3_k, 0.150861}, {GgufType::q2_k, 0.296543}};
  const std::vector<float> x = normal_numbers(size_t{256} * 256, 0.02, 5);
  for (const auto& [type, most] : kMost) {
    const double error = relative_error(x, there_and_back(type, x));
    EXPECT_LE(error, 1.02 * most) << name_of(type);
    EXPECT_GT(error, 0.8 * most) << name_of(type) << ": the bound is of another type";
  }
}

TEST(GgufQuantize, ASearchIsNeverWorseThanPlainRounding) {
  const GgufFile file(std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/blocks.gguf");
  std::vector<float> numbers(static_cast<size_t>(file.find("numbers")->count()));
  read_as_f32(file, *file.find("numbers"), numbers);
  for (const GgufType type : {GgufType::q4_0, GgufType::q4_1, GgufType::q5_0, GgufType::q5_1}) {
    std::vector<float> plain(numbers.size());
    read_as_f32(file, *file.find("numbers." + std::string(name_of(type))), plain);
    EXPECT_LT(relative_error(numbers, there_and_back(type, numbers)), relative_error(numbers, plain))
        << name_of(type);
  }
}

TEST(GgufQuantize, ColumnsThatMatterGetTheSmallerError) {
  const std::vector<float> x = normal_numbers(2048, 1.0, 6);
  std::vector<float> importance(x.size());
  for (size_t i = 0; i < importance.size(); ++i) importance[i] = i % 4 == 0 ? 1e6f : 0.0f;
  const auto error_of_those = [&](std::span<const float> y) {
    std::vector<float> a, b;
    for (size_t i = 0; i < x.size(); i += 4) {
      a.push_back(x[i]);
      b.push_back(y[i]);
    }
    return relative_error(a, b);
  };
  for (const GgufType type : kSearched) {
    if (type == GgufType::q8_0) continue;
    EXPECT_LT(error_of_those(there_and_back(type, x, importance)),
              0.95 * error_of_those(there_and_back(type, x)))
        << name_of(type);
    // Only ratios count.
    std::vector<float> scaled = importance;
    for (float& v : scaled) v *= 0.25f;
    EXPECT_EQ(blocks_of(type, x, scaled), blocks_of(type, x, importance)) << name_of(type);
    // An importance that is the same everywhere, or 0 everywhere, says nothing.
    EXPECT_EQ(blocks_of(type, x, std::vector<float>(x.size(), 3.0f)), blocks_of(type, x)) << name_of(type);
    EXPECT_EQ(blocks_of(type, x, std::vector<float>(x.size(), 0.0f)), blocks_of(type, x)) << name_of(type);
  }
}

TEST(GgufQuantize, OddNumbersGiveFiniteBlocks) {
  std::vector<std::vector<float>> rows;
  rows.emplace_back(256, 0.0f);
  rows.emplace_back(256, 0.25f);
  rows.emplace_back(256, -0.25f);
  rows.emplace_back(256, 1e-30f);
  rows.emplace_back(256, 0.0f);
  rows.back()[77] = 3.0f;  // one number
  rows.emplace_back(256, 0.01f);
  rows.back()[3] = -1000.0f;  // one that dwarfs the others
  rows.push_back(normal_numbers(256, 1e-4, 3));
  rows.push_back(normal_numbers(256, 1e4, 4));
  for (const GgufType type : kSearched) {
    for (const std::vector<float>& row : rows) {
      const std::vector<float> back = there_and_back(type, row);
      float largest = 0;
      for (const float v : row) largest = std::max(largest, std::fabs(v));
      for (size_t i = 0; i < row.size(); ++i) {
        ASSERT_TRUE(std::isfinite(back[i])) << name_of(type);
        // The coarsest type has four levels.
        ASSERT_LE(std::fabs(back[i] - row[i]), 0.51f * largest + 1e-7f)
            << name_of(type) << " " << row[i] << " at " << i;
      }
    }
    EXPECT_EQ(there_and_back(type, rows[0]), rows[0]) << name_of(type);
    EXPECT_NEAR(there_and_back(type, rows[4])[77], 3.0f, 0.05f) << name_of(type);
  }
}

TEST(GgufQuantize, NumbersTooLargeForF16ScalesAreAnError) {
  const std::vector<float> huge(256, 1e12f);
  for (const GgufType type : kSearched) {
    EXPECT_NE(error_of([&] { blocks_of(type, huge); }).find("does not fit in " + std::string(name_of(type))),
              std::string::npos)
        << name_of(type);
  }
}

}  // namespace
}  // namespace r1::gguf_quantize_test
