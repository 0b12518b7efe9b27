#include "tensor/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "base/machine.h"

namespace r1 {
namespace {

constexpr size_t kMapped = size_t{1} << 20;

}  // namespace

Shape::Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  R1_CHECK(dims.size() <= dims_.size(), "rank ", dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    R1_CHECK(dims[i] >= 0, "dimension ", i, " is ", dims[i]);
    dims_[i] = dims[i];
  }
}

int64_t Shape::count() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
  return n;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

Tensor Tensor::reshaped(Shape to) const {
  R1_CHECK(to.count() == count(), shape.str(), " reshaped to ", to.str());
  Tensor t = *this;
  t.shape = to;
  return t;
}

Buffer::Buffer(Shape shape, DType dtype) {
  bytes_ = (static_cast<size_t>(shape.count()) * size_of(dtype) + 63) / 64 * 64;
  if (bytes_ == 0) bytes_ = 64;
  // Large buffers are the system's zero pages, provided on first touch: zeroing gigabytes that are then
  // overwritten takes seconds.
  const bool mapped = bytes_ >= kMapped;
  void* at = mapped ? ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                    : std::aligned_alloc(64, bytes_);
  if (at == nullptr || at == MAP_FAILED)
    throw Error("out of memory: " + std::to_string(bytes_) + " bytes for a tensor " + shape.str() +
                ulimit_advice());
  if (mapped) {
    ::madvise(at, bytes_, MADV_HUGEPAGE);  // fewer waits for the TLB; only a hint
  } else {
    std::memset(at, 0, bytes_);
  }
  data_ = std::unique_ptr<void, Free>(at, Free{mapped ? bytes_ : 0});
  view_.data = at;
  view_.shape = shape;
  view_.dtype = dtype;
}

void Buffer::Free::operator()(void* p) const {
  if (mapped > 0) {
    ::munmap(p, mapped);
  } else {
    std::free(p);
  }
}

}  // namespace r1
