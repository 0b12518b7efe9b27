// Values between the host and a tensor's memory, whichever memory it is.
#include "tensor/transfer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "tests/tensor/masked_memory.h"

namespace r1::transfer_test {
namespace {

std::vector<float> draws(size_t n) {
  Random random(n + 1);
  std::vector<float> out(n);
  for (float& v : out) v = static_cast<float>(random.normal());
  return out;
}

std::vector<float> rounded(std::vector<float> values, DType dtype) {
  if (dtype == DType::bf16)
    for (float& v : values) v = f32_from_bf16(bf16_from_f32(v));
  return values;
}

TEST(Transfer, ValuesComeBackFromEveryMemoryAndType) {
  test::MaskedMemory masked;
  for (Memory* memory : {&host_memory(), static_cast<Memory*>(&masked)}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const size_t n : {size_t{0}, size_t{1}, size_t{4095}, size_t{4097}, size_t{100000}}) {
        const Buffer buffer({static_cast<int64_t>(n)}, dtype, *memory);
        const std::vector<float> values = draws(n);
        write_values(*memory, buffer.tensor(), 0, values);
        std::vector<float> all;
        in_f32(*memory, buffer.tensor(),
               [&all](std::span<const float> piece) { all.insert(all.end(), piece.begin(), piece.end()); });
        EXPECT_EQ(all, rounded(values, dtype)) << n;
        if (n < 2) continue;
        std::vector<float> some(n / 2), want = rounded(values, dtype);
        read_values(*memory, buffer.tensor(), 1, some);
        EXPECT_EQ(some, std::vector<float>(want.begin() + 1, want.begin() + 1 + std::ssize(some))) << n;
      }
    }
  }
}

TEST(Transfer, CopiesAndZeroes) {
  test::MaskedMemory memory;
  const Buffer from({3, 50}, DType::bf16, memory), to({3, 50}, DType::bf16, memory);
  const std::vector<float> values = rounded(draws(150), DType::bf16);
  write_values(memory, from.tensor(), 0, values);
  copy_values(memory, from.tensor(), to.tensor());
  std::vector<float> got(150);
  read_values(memory, to.tensor(), 0, got);
  EXPECT_EQ(got, values);
  zero_values(memory, to.tensor());
  read_values(memory, to.tensor(), 0, got);
  EXPECT_EQ(got, std::vector<float>(150, 0.0f));
  read_values(memory, from.tensor(), 0, got);
  EXPECT_EQ(got, values);
}

TEST(Transfer, RefusesWhatDoesNotFit) {
  const Buffer a({4}, DType::f32), b({5}, DType::f32), c({4}, DType::bf16), ids({4}, DType::i32);
  std::vector<float> three(3);
  EXPECT_THROW(read_values(host_memory(), a.tensor(), 2, three), BrokenInvariant);
  EXPECT_THROW(read_values(host_memory(), a.tensor(), -1, three), BrokenInvariant);
  EXPECT_THROW(write_values(host_memory(), a.tensor(), 2, three), BrokenInvariant);
  EXPECT_THROW(write_values(host_memory(), ids.tensor(), 0, three), BrokenInvariant);
  EXPECT_THROW(copy_values(host_memory(), a.tensor(), b.tensor()), BrokenInvariant);
  EXPECT_THROW(copy_values(host_memory(), a.tensor(), c.tensor()), BrokenInvariant);
}

}  // namespace
}  // namespace r1::transfer_test
