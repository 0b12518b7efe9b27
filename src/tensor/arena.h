// tensor/arena.h: the memory of a step's activations.
//
// An arena is one reserved range of address space. Taking memory moves a mark up and releasing moves it back,
// so a step allocates nothing, and the peak is a number that can be printed. Memory is committed as the mark
// first passes it. Arenas are not thread-safe: ops take memory before they go parallel. Under
// AddressSanitizer the gaps between blocks of host memory are poisoned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace r1 {

class Arena {
 public:
  // If more than `limit` bytes are held at once, take() throws an Error that names the limit. Under ulimit -v
  // the limit is lower: a share of the available address space.
  explicit Arena(size_t limit = kDefaultLimit, Memory& memory = host_memory());
  // A host arena whose blocks are also taken from `counted_in`, where they have no use but to count: two
  // arenas then measure what one takes that serves both (Context::measuring). Release both together
  // (OpScope).
  explicit Arena(Arena& counted_in) : Arena() { counted_in_ = &counted_in; }
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
  void release(size_t mark);  // frees everything taken since mark() returned `mark`
  size_t peak() const { return peak_; }
  Memory& memory() const { return memory_; }
  bool poisoned() const { return &memory_ == &host_memory(); }  // under AddressSanitizer

  static constexpr size_t kDefaultLimit = size_t{1} << 38;  // address space, not memory

 private:
  Memory& memory_;
  std::byte* base_ = nullptr;
  size_t limit_ = 0;
  size_t used_ = 0;
  size_t peak_ = 0;
  Arena* counted_in_ = nullptr;
};

// Releases at the end of a scope everything taken in it.
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
