// tensor/device_read.h: values of a device on their way to the host, which waits for them when it needs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "tensor/tensor.h"

namespace r1 {

class DeviceRead {
 public:
  // Room for so many bytes. Builds without CUDA have no device to read from.
  explicit DeviceRead(size_t bytes);
  ~DeviceRead();
  DeviceRead(DeviceRead&&) noexcept;
  DeviceRead& operator=(DeviceRead&&) noexcept;

  size_t room() const { return room_; }
  // Queues a copy of the first `bytes` bytes of `from` behind the work of `stream`.
  void begin(const Tensor& from, size_t bytes, void* stream);
  // Waits for that copy, and for nothing that was queued after it. The bytes stay until the next begin().
  std::span<const std::byte> wait();

 private:
  struct State;
  std::unique_ptr<State> state_;
  size_t room_ = 0, bytes_ = 0;
};

}  // namespace r1
