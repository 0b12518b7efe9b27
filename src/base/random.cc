#include "base/random.h"

#include "base/error.h"
#include "base/normal_numbers.h"

namespace r1 {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  // The paper's multipliers and key increments (Weyl constants: golden ratio and sqrt(3) - 1).
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiplier0 * counter[0];
    const uint64_t p1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

Random::Random(uint64_t seed, uint64_t stream, uint32_t substream)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      counter_{0, substream, static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)} {}

uint32_t Random::next_u32() {
  if (used_ == 4) {
    block_ = philox(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

float Random::uniform() {
  return uniform_from_bits(next_u32());
}

double Random::uniform_double() {
  const uint64_t high = next_u32();
  const uint64_t bits = (high << 32 | next_u32()) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

int64_t Random::below(int64_t n) {
  R1_CHECK(n >= 1, "below(", n, ")");
  const uint64_t range = static_cast<uint64_t>(n);
  const uint64_t limit = UINT64_MAX - (UINT64_MAX % range + 1) % range;  // the last multiple of n, less one
  for (;;) {
    const uint64_t high = next_u32();
    const uint64_t draw = high << 32 | next_u32();
    if (draw <= limit) return static_cast<int64_t>(draw % range);
  }
}

double Random::normal() {
  std::array<uint32_t, 4> bits{};
  for (uint32_t& word : bits) word = next_u32();
  return normal_from_bits(bits);
}

}  // namespace r1
