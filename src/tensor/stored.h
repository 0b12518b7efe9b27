// tensor/stored.h: a tensor as a checkpoint stores it: its format, and where its bytes are.
//
// Values are read in pieces, into the caller's memory, and converted on the way: nothing is kept here.
// Several tensors may share one owner, and a tensor may be a part of another, such as one expert of a stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tensor/dtype.h"
#include "tensor/memory.h"
#include "tensor/tensor.h"

namespace r1 {

// The storage of elements: each by itself, or in blocks with scales (tensor/blocks.h). f8_e4m3 is of matrices
// alone, whose scales are another tensor (tensor/fp8.h).
enum class Format : uint8_t {
  f64,
  f32,
  bf16,
  f16,
  f8_e4m3,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s
};
inline constexpr size_t kFormats = static_cast<size_t>(Format::iq3_s) + 1;

struct FormatRow {
  Format format;
  std::string_view name;  // "Q4_K"
  int64_t elements;       // in a block; 1: each element is stored by itself
  int64_t bytes;          // of a block
};
const FormatRow& row_of(Format format);
inline std::string_view name_of(Format format) {
  return row_of(format).name;
}
constexpr bool is_blocks(Format format) {
  return format >= Format::q4_0;
}
// Returns the bytes of an element that is stored by itself.
constexpr size_t size_of(Format format) {
  return format == Format::f64 ? 8 : format == Format::f32 ? 4 : format == Format::f8_e4m3 ? 1 : 2;
}
// Returns the bytes of `elements` elements, which fill whole blocks.
int64_t bytes_of(Format format, int64_t elements);

// Bytes that tensors are read from: an open file, or memory. Any thread may read.
class StoredBytes {
 public:
  virtual ~StoredBytes() = default;
  virtual const std::string& path() const = 0;  // for messages
  // Fills `to` from byte `begin` on. Throws Error, with the file and `tensor`, if the file was cut.
  virtual void read(uint64_t begin, std::span<std::byte> to, std::string_view tensor) const = 0;
};

struct Stored {
  std::string name;  // in the checkpoint, for messages
  Format format = Format::f32;
  Shape shape;
  uint64_t begin = 0;  // of the first element, in owner's bytes
  std::shared_ptr<const StoredBytes> owner;
  std::shared_ptr<const Stored> scales;  // null: the format has none

  explicit operator bool() const { return owner != nullptr; }
  int64_t count() const { return shape.count(); }
  // Entry `index` of the first dimension, with the same owner.
  Stored part(int64_t index) const;

  // Elements [first, first + to.size()), row-major. Throws Error if the bytes cannot be read.
  void read_raw(int64_t first, std::span<std::byte> to) const;  // in their own format, from a block's first
  void read(int64_t first, std::span<float> to) const;          // f64 and f8_e4m3 round, the others are exact
  void read(int64_t first, std::span<uint16_t> to) const;       // bf16: as it is, or rounded from f32
};

// Widens elements in their own format, as Stored::read does but for the scales of f8_e4m3. Blocks are whole.
void widen_stored(Format format, std::span<const std::byte> from, std::span<float> to);

// Throws Error "FILE: tensor NAME is NaN at [2, 3]: the weights are damaged" if a value of `values`, which
// begin with element `first` of `stored`, is NaN or infinite.
void check_finite(const Stored& stored, int64_t first, std::span<const float> values);
void check_finite(const Stored& stored, int64_t first, std::span<const uint16_t> bf16);
// The same for all of a tensor, which is read for it.
void check_finite(const Stored& stored);
// Reads all of a tensor into `to`, f32 or bf16, which lies in `memory`, and checks every value.
void read_finite(const Stored& stored, Memory& memory, const Tensor& to);

}  // namespace r1
