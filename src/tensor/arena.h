// tensor/arena.h: where a step's activations live.
//
// One reserved range of address space; taking memory moves a mark up, releasing moves it back: no allocation
// inside a step, and the peak is a number that can be printed. Pages are given by the system on first touch.
// Not thread-safe: ops take memory before they go parallel. Under AddressSanitizer the gaps between blocks
// are poisoned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace r1 {

class Arena {
 public:
  // `limit`: taking more than this many bytes at once throws Error (what was asked, what --memory-limit
  // allows). Under ulimit -v it is less: a part of the address space that there is.
  explicit Arena(size_t limit = kDefaultLimit);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* take(size_t bytes);  // 64-byte aligned, uninitialised
  Tensor tensor(Shape shape, DType dtype = DType::f32);
  template <class T>
  T* array(int64_t count) {
    return static_cast<T*>(take(static_cast<size_t>(count) * sizeof(T)));
  }

  size_t mark() const { return used_; }
  void release(size_t mark);  // everything taken since mark() is gone
  size_t peak() const { return peak_; }

  static constexpr size_t kDefaultLimit = size_t{1} << 38;  // address space, not memory

 private:
  std::byte* base_ = nullptr;
  size_t limit_ = 0;
  size_t used_ = 0;
  size_t peak_ = 0;
};

// Gives back, at the end of a scope, all that was taken in it.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  size_t mark_;
};

}  // namespace r1
