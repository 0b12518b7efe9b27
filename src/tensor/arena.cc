#include "tensor/arena.h"

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
}  // namespace

Arena::Arena(size_t limit, Memory& memory) : memory_(memory), limit_(limit) {
  const auto space = static_cast<size_t>(address_space_limit());
  if (space > 0 && &memory_ == &host_memory()) limit_ = std::min(limit_, std::max(space / kShares, kLeast));
  void* at = memory_.reserve(limit_);
  while (at == nullptr && limit_ / 2 >= kLeast) at = memory_.reserve(limit_ /= 2);
  if (at == nullptr) throw Error("no address space is left for a step's activations" + ulimit_advice());
  base_ = static_cast<std::byte*>(at);
}

Arena::~Arena() {
  if (poisoned()) ASAN_UNPOISON_MEMORY_REGION(base_, peak_);
  memory_.release(base_, limit_);
}

void* Arena::take(size_t bytes) {
  const size_t want = (bytes + kAlign - 1) / kAlign * kAlign + kGap;
  if (want > limit_ - used_) {
    const std::string scarce = ulimit_advice();
    throw Error("out of memory: a step needs more than the " + std::to_string(limit_ >> 20) +
                " MiB it may use" + (scarce.empty() ? "; lower the batch or raise --memory-limit" : scarce));
  }
  if (counted_in_ != nullptr) counted_in_->take(bytes);
  if (used_ + want > peak_) {
    memory_.commit(base_, used_ + want);  // may throw: nothing is taken then
    peak_ = used_ + want;
  }
  void* at = base_ + used_;
  if (poisoned()) {
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    ASAN_POISON_MEMORY_REGION(static_cast<std::byte*>(at) + bytes, want - bytes);
  }
  used_ += want;
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
  if (poisoned()) ASAN_POISON_MEMORY_REGION(base_ + mark, used_ - mark);
  used_ = mark;
}

}  // namespace r1
