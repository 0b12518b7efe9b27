// tests/gpu/device_bits.h: matrices of bf16 in the device's memory.
#pragma once

#include <cmath>

#include "tests/gpu/device_run.h"

namespace r1::test {

// Bits of bf16 in the device's memory, between guards. `shift` makes vector loads impossible.
class DeviceBits {
 public:
  explicit DeviceBits(std::span<const float> values, int64_t shift = 0) : words_(packed(values), shift) {}
  const uint16_t* data() const { return reinterpret_cast<const uint16_t*>(words_.data()); }

 private:
  static std::vector<int32_t> packed(std::span<const float> values) {
    std::vector<int32_t> words(values.size() / 2 + 1);
    for (size_t i = 0; i < values.size(); ++i)
      words[i / 2] |= static_cast<int32_t>(uint32_t{bf16_from_f32(values[i])} << (i % 2 * 16));
    return words;
  }
  DeviceArray<int32_t> words_;
};

inline std::vector<float> bf16_numbers(Random& random, int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out)
    v = f32_from_bf16(bf16_from_f32(static_cast<float>(random.normal() * std::exp2(2 * random.normal()))));
  return out;
}

}  // namespace r1::test
