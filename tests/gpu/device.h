// tests/gpu/device.h: arrays in a CUDA device's memory for the tests, and comparisons with the CPU's results.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "tensor/cuda.h"

namespace r1::test {

// Tests that need a device derive from this. They are skipped, and say so, if there is none.
class OnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      cuda::device_facts();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

// `count` elements with guards of a known pattern on both sides. Elements are poisoned (NaN, -1) or copied
// from the host. `shift` elements of the front guard are missing, so that vector loads are not aligned.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count, int64_t shift = 0) : count_(count), front_(kGuard - shift) {
    static_assert(sizeof(T) == sizeof(uint32_t));
    bytes_ = static_cast<size_t>(count_ + 2 * kGuard) * sizeof(T);
    memory_ = static_cast<T*>(cuda_memory().allocate(bytes_));
    std::vector<uint32_t> image(static_cast<size_t>(count_ + 2 * kGuard), kPattern);
    std::fill_n(image.begin() + front_, count_, 0xFFFFFFFFu);
    cuda_memory().write(memory_, image.data(), bytes_);
  }
  explicit DeviceArray(std::span<const T> values, int64_t shift = 0)
      : DeviceArray(static_cast<int64_t>(values.size()), shift) {
    cuda_memory().write(data(), values.data(), values.size_bytes());
  }
  ~DeviceArray() { cuda_memory().free(memory_, bytes_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return memory_ + front_; }
  // Waits for the stream, copies the elements to the host, and checks that nothing was written beside them.
  std::vector<T> values(const cuda::Stream& stream) const {
    stream.wait();
    std::vector<uint32_t> image(static_cast<size_t>(count_ + 2 * kGuard));
    cuda_memory().read(image.data(), memory_, bytes_);
    for (int64_t i = 0; i < std::ssize(image); ++i) {
      if (i >= front_ && i < front_ + count_) continue;
      if (image[static_cast<size_t>(i)] != kPattern) {
        ADD_FAILURE() << "the kernel wrote element " << i - front_ << " of an array of " << count_;
        break;
      }
    }
    std::vector<T> out(static_cast<size_t>(count_));
    std::memcpy(out.data(), image.data() + front_, out.size() * sizeof(T));
    return out;
  }

 private:
  static constexpr int64_t kGuard = 64;
  static constexpr uint32_t kPattern = 0x5EAF00D5u;
  int64_t count_, front_;
  size_t bytes_ = 0;
  T* memory_ = nullptr;
};
using DeviceFloats = DeviceArray<float>;
using DeviceInts = DeviceArray<int32_t>;

// Expects equality to the bit (0 != -0). Two NaNs are equal: which of its NaNs a processor makes is not part
// of any contract.
inline void expect_cpu_bits(std::span<const float> device, std::span<const float> cpu,
                            const std::string& what) {
  ASSERT_EQ(device.size(), cpu.size()) << what;
  size_t different = 0, first = 0;
  for (size_t i = 0; i < device.size(); ++i) {
    if (std::bit_cast<uint32_t>(device[i]) == std::bit_cast<uint32_t>(cpu[i])) continue;
    if (std::isnan(device[i]) && std::isnan(cpu[i])) continue;
    if (different++ == 0) first = i;
  }
  if (different > 0) {
    ADD_FAILURE() << what << ": " << different << " of " << device.size() << " elements differ; first at "
                  << first << ": device " << std::hexfloat << device[first] << " CPU " << cpu[first];
  }
}

// Numbers of many magnitudes; one in eight is a denormal or a zero of either sign.
inline std::vector<float> mixed_numbers(Random& random, int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) {
    v = static_cast<float>(random.normal() * std::exp2(6 * random.normal()));
    const uint32_t kind = random.next_u32();
    if (kind % 16 == 0) v = std::bit_cast<float>(kind & 0x807FFFFFu);
    if (kind % 64 == 1) v = kind & 0x80000000u ? -0.0f : 0.0f;
  }
  return out;
}

}  // namespace r1::test
