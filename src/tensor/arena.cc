#include "tensor/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "base/machine.h"
#include "base/sanitizer.h"

namespace r1 {

namespace {
constexpr size_t kAlign = 64;
constexpr size_t kGap = 64;  // poisoned under AddressSanitizer; elsewhere it costs one cache line per block
// If the address space is limited, one arena reserves 1 / kShares of it: weights, cache, stacks and the
// arenas of other threads need some too.
constexpr size_t kShares = 16;
constexpr size_t kLeast = size_t{16} << 20;

void* reserve(size_t bytes) {
  return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
}  // namespace

Arena::Arena(size_t limit) : limit_(limit) {
  const auto space = static_cast<size_t>(address_space_limit());
  if (space > 0) limit_ = std::min(limit_, std::max(space / kShares, kLeast));
  void* at = reserve(limit_);
  while (at == MAP_FAILED && limit_ / 2 >= kLeast) at = reserve(limit_ /= 2);
  if (at == MAP_FAILED) throw Error("no address space is left for a step's activations" + ulimit_advice());
  // A step walks through the whole arena. Pages of 2 MiB, where the system has them, avoid waits for the TLB.
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
    const std::string scarce = ulimit_advice();
    throw Error("out of memory: a step needs more than the " + std::to_string(limit_ >> 20) +
                " MiB it may use" + (scarce.empty() ? "; lower the batch or raise --memory-limit" : scarce));
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
