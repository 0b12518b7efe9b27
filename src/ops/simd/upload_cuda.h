// ops/simd/upload_cuda.h: the lists that an op's kernels read, copied to the device in one transfer.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/error.h"
#include "tensor/context.h"

namespace r1::cuda {

// Use: add() every list, send(), then at(). Lists must stay as they are until send(). The memory is that of
// ctx.arena and ctx.host(), so the object belongs inside an OpScope.
class Upload {
 public:
  explicit Upload(Context& ctx) : ctx_(ctx) {}

  // Returns the list's number.
  template <class T>
  int add(std::span<const T> list) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kAlign);
    R1_CHECK(count_ < static_cast<int>(parts_.size()), "too many lists");
    parts_[static_cast<size_t>(count_)] = {list.data(), list.size_bytes(), bytes_};
    bytes_ += (list.size_bytes() + kAlign - 1) / kAlign * kAlign;
    return count_++;
  }
  void send() {
    auto* host = ctx_.host().array<std::byte>(static_cast<int64_t>(bytes_));
    device_ = ctx_.arena.array<std::byte>(static_cast<int64_t>(bytes_));
    if (ctx_.measuring || bytes_ == 0) return;
    for (int i = 0; i < count_; ++i) {
      const Part& part = parts_[static_cast<size_t>(i)];
      const size_t end = i + 1 < count_ ? parts_[static_cast<size_t>(i) + 1].at : bytes_;
      if (part.bytes > 0) std::memcpy(host + part.at, part.data, part.bytes);
      std::memset(host + part.at + part.bytes, 0, end - part.at - part.bytes);
    }
    ctx_.memory().write(device_, host, bytes_, ctx_.stream);
  }
  template <class T>
  const T* at(int list) const {
    return reinterpret_cast<const T*>(device_ + parts_[static_cast<size_t>(list)].at);
  }

 private:
  static constexpr size_t kAlign = 16;
  struct Part {
    const void* data = nullptr;
    size_t bytes = 0, at = 0;
  };
  Context& ctx_;
  std::array<Part, 12> parts_{};
  int count_ = 0;
  size_t bytes_ = 0;
  std::byte* device_ = nullptr;
};

}  // namespace r1::cuda
