// tests/tensor/masked_memory.h: host memory that behaves like a device's: whoever touches it directly, and
// not through Memory, sees nonsense. Every byte is stored complemented.
#pragma once

#include <cstddef>
#include <vector>

#include "tensor/memory.h"

namespace r1::test {

class MaskedMemory final : public Memory {
 public:
  Device device() const override { return host_memory().device(); }
  void* reserve(size_t bytes) override { return host_memory().reserve(bytes); }
  void commit(void* base, size_t bytes) override { host_memory().commit(base, bytes); }
  void release(void* base, size_t reserved) override { host_memory().release(base, reserved); }
  void* allocate(size_t bytes) override {
    void* at = host_memory().allocate(bytes);
    zero(at, bytes, nullptr);
    return at;
  }
  void free(void* at, size_t bytes) override { host_memory().free(at, bytes); }
  void write(void* to, const void* host, size_t bytes, void*) override { mask(to, host, bytes); }
  void read(void* host, const void* from, size_t bytes, void*) override { mask(host, from, bytes); }
  void copy(void* to, const void* from, size_t bytes, void*) override { host_memory().copy(to, from, bytes); }
  void zero(void* at, size_t bytes, void*) override {
    const std::vector<std::byte> zeros(bytes);
    mask(at, zeros.data(), bytes);
  }

 private:
  static void mask(void* to, const void* from, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i)
      static_cast<std::byte*>(to)[i] = ~static_cast<const std::byte*>(from)[i];
  }
};

}  // namespace r1::test
