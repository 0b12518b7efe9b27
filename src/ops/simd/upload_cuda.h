// ops/simd/upload_cuda.h: the lists that an op's kernels read, copied to the device in one transfer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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
  // The lists are the same in every step (DeviceLists::constant).
  void send_constants() {
    if (ctx_.lists == nullptr || ctx_.measuring || bytes_ == 0) return send();
    const auto* joined = join();
    device_ = const_cast<std::byte*>(ctx_.lists->constant(ctx_.memory(), {joined, bytes_}));
  }
  void send() {
    R1_CHECK(ctx_.lists == nullptr || !ctx_.lists->recording || bytes_ == 0,
             "a list is sent while a graph is recorded");
    const auto* host = join();
    auto* const room = ctx_.arena.array<std::byte>(static_cast<int64_t>(bytes_ + kAlign));
    device_ = room + (kAlign - reinterpret_cast<uintptr_t>(room) % kAlign) % kAlign;
    if (ctx_.measuring || bytes_ == 0) return;
    ctx_.memory().write(device_, host, bytes_, ctx_.stream);
  }
  template <class T>
  const T* at(int list) const {
    return reinterpret_cast<const T*>(device_ + parts_[static_cast<size_t>(list)].at);
  }

 private:
  static constexpr size_t kAlign = 128;  // what the copy engine's maps need
  struct Part {
    const void* data = nullptr;
    size_t bytes = 0, at = 0;
  };
  // The lists one behind the other, in the host's memory.
  const std::byte* join() {
    auto* host = ctx_.host().array<std::byte>(static_cast<int64_t>(bytes_));
    if (ctx_.measuring) return host;
    for (int i = 0; i < count_; ++i) {
      const Part& part = parts_[static_cast<size_t>(i)];
      const size_t end = i + 1 < count_ ? parts_[static_cast<size_t>(i) + 1].at : bytes_;
      if (part.bytes > 0) std::memcpy(host + part.at, part.data, part.bytes);
      std::memset(host + part.at + part.bytes, 0, end - part.at - part.bytes);
    }
    return host;
  }

  Context& ctx_;
  std::array<Part, 12> parts_{};
  int count_ = 0;
  size_t bytes_ = 0;
  std::byte* device_ = nullptr;
};

// Returns a list in the device's memory: where ctx.lists has it, or a copy in ctx.arena. `list` must stay as it
// is until the op returns.
template <class T>
const T* on_device(Context& ctx, std::span<const T> list) {
  if (ctx.lists != nullptr && !ctx.measuring) {
    if (const T* there = ctx.lists->find(list)) return there;
    R1_CHECK(!ctx.lists->recording || list.empty(), "a list is sent while a graph is recorded");
  }
  auto* copy = ctx.arena.array<T>(std::ssize(list));
  if (!ctx.measuring) ctx.memory().write(copy, list.data(), list.size_bytes(), ctx.stream);
  return copy;
}

}  // namespace r1::cuda
