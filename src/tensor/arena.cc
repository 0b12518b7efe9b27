#include "tensor/arena.h"

#include <sys/mman.h>

#include <string>

#include "base/sanitizer.h"

namespace r1 {

namespace {
constexpr size_t kAlign = 64;
constexpr size_t kGap = 64;  // poisoned under AddressSanitizer; costs one cache line a block elsewhere
}  // namespace

Arena::Arena(size_t limit) : limit_(limit) {
  void* at =
      ::mmap(nullptr, limit_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw Error("cannot reserve " + std::to_string(limit_) + " bytes of address space");
  // A step walks through all of it: in pages of 2 MiB where the system has them, or it waits for the TLB.
  ::madvise(at, limit_, MADV_HUGEPAGE);
  base_ = static_cast<std::byte*>(at);
}

Arena::~Arena() {
  ASAN_UNPOISON_MEMORY_REGION(base_, peak_);
  ::munmap(base_, limit_);
}

void* Arena::take(size_t bytes) {
  const size_t want = (bytes + kAlign - 1) / kAlign * kAlign + kGap;
  if (want > limit_ - used_) {
    throw Error("out of memory: a step needs more than the " + std::to_string(limit_ >> 20) +
                " MiB it may use; lower the batch or raise --memory-limit");
  }
  void* at = base_ + used_;
  ASAN_UNPOISON_MEMORY_REGION(at, bytes);
  ASAN_POISON_MEMORY_REGION(static_cast<std::byte*>(at) + bytes, want - bytes);
  used_ += want;
  if (used_ > peak_) peak_ = used_;
  return at;
}

Tensor Arena::tensor(Shape shape, DType dtype) {
  Tensor t;
  t.data = take(static_cast<size_t>(shape.count()) * size_of(dtype));
  t.shape = shape;
  t.dtype = dtype;
  return t;
}

void Arena::release(size_t mark) {
  R1_CHECK(mark <= used_, "mark ", mark, " used ", used_);
  ASAN_POISON_MEMORY_REGION(base_ + mark, used_ - mark);
  used_ = mark;
}

}  // namespace r1
