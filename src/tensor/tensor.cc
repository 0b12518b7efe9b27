#include "tensor/tensor.h"

namespace r1 {

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

Tensor Tensor::part(int64_t first, int64_t count) const {
  R1_CHECK(shape.rank() >= 1 && first >= 0 && count >= 0 && first + count <= shape[0], shape.str(), " from ",
           first, ", ", count, " entries");
  const int64_t entry = shape[0] == 0 ? 0 : this->count() / shape[0];
  std::array<int64_t, 4> dims{};
  for (int i = 0; i < shape.rank(); ++i) dims[static_cast<size_t>(i)] = i == 0 ? count : shape[i];
  Tensor t = *this;
  t.data = static_cast<std::byte*>(data) + static_cast<size_t>(first * entry) * size_of(dtype);
  t.shape = Shape(std::span<const int64_t>(dims).first(static_cast<size_t>(shape.rank())));
  t.node = -1;
  return t;
}

Buffer::Buffer(Shape shape, DType dtype, Memory& memory) {
  bytes_ = (static_cast<size_t>(shape.count()) * size_of(dtype) + 63) / 64 * 64;
  if (bytes_ == 0) bytes_ = 64;
  data_ = std::unique_ptr<void, Free>(memory.allocate(bytes_), Free{&memory, bytes_});
  view_.data = data_.get();
  view_.shape = shape;
  view_.dtype = dtype;
}

}  // namespace r1
