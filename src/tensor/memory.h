// tensor/memory.h: where memory comes from: the host, a CUDA device, or nowhere.
//
// Arenas and Buffers take their memory from here. Memory above ops/ is moved only by ops and by the copies
// below. Sizes are in bytes. Not thread-safe unless a function says so.
#pragma once

#include <atomic>
#include <cstddef>

#include "tensor/dtype.h"

namespace r1 {

class Memory {
 public:
  virtual ~Memory() = default;
  virtual Device device() const = 0;

  // Reserves a range of addresses, aligned to 64 bytes, or returns null if there is none so large. commit()
  // makes its first `bytes` usable; what was usable before stays as it is. Throws Error if there is too
  // little memory.
  virtual void* reserve(size_t bytes) = 0;
  virtual void commit(void* base, size_t bytes) = 0;
  virtual void release(void* base, size_t reserved) = 0;

  // Zeroed and aligned to 64 bytes. Throws Error if there is too little memory.
  virtual void* allocate(size_t bytes) = 0;
  virtual void free(void* at, size_t bytes) = 0;

  // Copies from, to and within this memory, in the order of the stream (null on the host). `write` and `read`
  // return when the host's side may be reused. On a device without a stream, `write` returns when the copy is
  // done, so that every stream finds it. On the host, any thread may call them.
  virtual void write(void* to, const void* host, size_t bytes, void* stream = nullptr) = 0;
  virtual void read(void* host, const void* from, size_t bytes, void* stream = nullptr) = 0;
  virtual void copy(void* to, const void* from, size_t bytes, void* stream = nullptr) = 0;
  virtual void zero(void* at, size_t bytes, void* stream = nullptr) = 0;

  // Bytes that are free now, of this machine or of this process's control group; 0 means unknown.
  virtual size_t free_bytes() const { return 0; }
};

Memory& host_memory();
// The memory of a device. Throws Error if this build or this machine has no such device.
Memory& memory_of(Device device);

// Hands out addresses without memory, so that a step's memory can be measured by running its ops
// (Context::measuring). Copies do nothing. Any thread may use it.
class NoMemory final : public Memory {
 public:
  Device device() const override { return Device::cpu; }
  void* reserve(size_t bytes) override;
  void commit(void*, size_t) override {}
  void release(void*, size_t) override {}
  void* allocate(size_t bytes) override;
  void free(void*, size_t bytes) override { allocated_ -= bytes; }
  void write(void*, const void*, size_t, void*) override {}
  void read(void*, const void*, size_t, void*) override {}
  void copy(void*, const void*, size_t, void*) override {}
  void zero(void*, size_t, void*) override {}

  size_t allocated() const { return allocated_; }  // by allocate() and not yet freed, in bytes

 private:
  std::atomic<size_t> allocated_{0};
};

}  // namespace r1
