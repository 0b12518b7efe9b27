// tensor/tensor.h: a tensor is a view with a pointer, a dtype and a shape; contiguous, row-major,
// at most four dimensions.
//
// It owns nothing: storage belongs to an Arena (activations and their gradients) or to a Buffer (weights,
// optimizer state, KV pages). Copying a Tensor copies the view. `node` names it on the tape (tensor/tape.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "tensor/dtype.h"
#include "tensor/memory.h"

namespace r1 {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(std::span<const int64_t> dims);
  int rank() const { return rank_; }
  // Dimension -1 is the last.
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i < 0 ? i + rank_ : i)]; }
  int64_t count() const;  // 1 for rank 0
  bool operator==(const Shape& other) const = default;
  std::string str() const;  // "[8, 64]"

 private:
  std::array<int64_t, 4> dims_{};
  int rank_ = 0;
};

struct Tensor {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  int32_t node = -1;  // on the tape; -1: not recorded (constants, weights, or no tape)

  explicit operator bool() const { return data != nullptr; }
  int64_t dim(int i) const { return shape[i]; }  // dim(-1): the last
  int64_t count() const { return shape.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * size_of(dtype); }
  int64_t rows() const { return shape.rank() == 0 ? 1 : count() / (shape[-1] == 0 ? 1 : shape[-1]); }
  float* f32() const { return static_cast<float*>(typed(DType::f32)); }
  uint16_t* bf16() const { return static_cast<uint16_t*>(typed(DType::bf16)); }  // the bits
  int32_t* i32() const { return static_cast<int32_t*>(typed(DType::i32)); }
  std::span<float> values() const { return {f32(), static_cast<size_t>(count())}; }
  // Returns a view of the same storage and tape node with another shape of equal count.
  Tensor reshaped(Shape to) const;
  // Returns a view of entries [first, first + count) of the first dimension. It has no tape node.
  Tensor part(int64_t first, int64_t count) const;

 private:
  void* typed(DType want) const {
    R1_CHECK(dtype == want, "tensor ", shape.str(), " is ", name_of(dtype), ", not ", name_of(want));
    return data;
  }
};

// Owned, 64-byte aligned, zeroed storage for weights, optimizer state and KV pages.
class Buffer {
 public:
  Buffer() = default;
  // Throws Error if the memory has too little left.
  Buffer(Shape shape, DType dtype, Memory& memory = host_memory());
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;
  const Tensor& tensor() const { return view_; }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    Memory* memory;
    size_t bytes;
    void operator()(void* p) const { memory->free(p, bytes); }
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
  Tensor view_;
};

}  // namespace r1
