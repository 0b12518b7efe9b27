#include "tensor/stored.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/fp8.h"

namespace r1 {
namespace {

constexpr size_t kBytesAtATime = 16384;  // bytes that are converted at a time, on the stack

// Returns the index of the first NaN or infinity, or n if there is none. The test looks for an exponent of
// all ones in the bits of f32 or bf16, so it does not depend on the compiler's floating-point options.
template <class Bits, Bits kExponent, class T>
size_t first_with(std::span<const T> values) {
  constexpr size_t kBlock = 4096;  // without an early exit inside a block, the loop vectorises
  const auto is_bad = [](T v) { return (std::bit_cast<Bits>(v) & kExponent) == kExponent; };
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    Bits bad = 0;
    for (const T v : block) bad |= is_bad(v) ? 1 : 0;
    if (bad != 0) return begin + static_cast<size_t>(std::ranges::find_if(block, is_bad) - block.begin());
  }
  return values.size();
}

// f32_from_f16 without branches, so that loops vectorise. Moving the bits into f32's fields leaves the
// exponent 112 too small, also of denormals; NaN and infinity need the largest exponent.
inline float widen_f16(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = (half & 0x7FFFu) << 13;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f);
  return std::bit_cast<float>(sign | (rest >= 0x0F800000u ? rest | 0x7F800000u : scaled));
}

[[noreturn]] void refuse(const Stored& stored, int64_t flat, float value) {
  std::string index;
  for (int d = stored.shape.rank(); d-- > 0;) {
    const int64_t size = stored.shape[d];
    index = std::to_string(flat % size) + (index.empty() ? "" : ", ") + index;
    flat /= size;
  }
  throw Error(stored.owner->path() + ": tensor " + stored.name + " is " +
              (std::isnan(value) ? "NaN" : "infinite") + " at [" + index + "]: the weights are damaged");
}

// Reads elements piece by piece and passes each piece's bytes, and how many elements came before, to `use`.
template <class Use>
void in_pieces(const Stored& stored, int64_t first, size_t count, const Use& use) {
  alignas(64) std::array<std::byte, kBytesAtATime> piece;
  const size_t size = size_of(stored.format);
  for (size_t at = 0; at < count;) {
    const size_t n = std::min(piece.size() / size, count - at);
    const auto bytes = std::span(piece).first(n * size);
    stored.read_raw(first + static_cast<int64_t>(at), bytes);
    use(std::span<const std::byte>(bytes), at, n);
    at += n;
  }
}

}  // namespace

Stored Stored::part(int64_t index) const {
  R1_CHECK(shape.rank() >= 2 && index >= 0 && index < shape[0], name, " ", shape.str(), ", part ", index);
  Stored out = *this;
  std::array<int64_t, 4> dims{};
  for (int d = 1; d < shape.rank(); ++d) dims[static_cast<size_t>(d - 1)] = shape[d];
  out.shape = Shape(std::span<const int64_t>(dims).first(static_cast<size_t>(shape.rank() - 1)));
  out.begin += static_cast<uint64_t>(index * out.shape.count()) * size_of(format);
  if (scales != nullptr) out.scales = std::make_shared<Stored>(scales->part(index));
  return out;
}

void Stored::read_raw(int64_t first, std::span<std::byte> to) const {
  const size_t size = size_of(format);
  R1_CHECK(first >= 0 && static_cast<uint64_t>(first) + to.size() / size <= static_cast<uint64_t>(count()),
           name, " ", shape.str(), ": elements from ", first, ", ", to.size(), " bytes");
  owner->read(begin + static_cast<uint64_t>(first) * size, to, name);
}

void Stored::read(int64_t first, std::span<float> to) const {
  if (format == Format::f32) return read_raw(first, std::as_writable_bytes(to));
  if (format == Format::f8_e4m3) return read_fp8(*this, first, to);
  in_pieces(*this, first, to.size(), [&](std::span<const std::byte> bytes, size_t at, size_t n) {
    widen_stored(format, bytes, to.subspan(at, n));
  });
}

void Stored::read(int64_t first, std::span<uint16_t> to) const {
  if (format == Format::bf16) return read_raw(first, std::as_writable_bytes(to));
  std::array<float, kBytesAtATime / sizeof(float)> wide;
  for (size_t at = 0; at < to.size(); at += wide.size()) {
    const auto part = to.subspan(at, std::min(wide.size(), to.size() - at));
    const auto values = std::span(wide).first(part.size());
    read(first + static_cast<int64_t>(at), values);
    std::ranges::transform(values, part.begin(), bf16_from_f32);
  }
}

void widen_stored(Format format, std::span<const std::byte> from, std::span<float> to) {
  const std::byte* in = from.data();
  const size_t n = to.size();
  if (n == 0) return;
  switch (format) {
    case Format::f32:
      std::memcpy(to.data(), in, n * 4);
      return;
    case Format::bf16:
      // Written out instead of calling f32_from_bf16, so that the loop vectorises. The bits are the same.
      for (size_t i = 0; i < n; ++i) {
        uint16_t half;
        std::memcpy(&half, in + i * 2, 2);
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        std::memcpy(&to[i], &bits, 4);
      }
      return;
    case Format::f16:
      for (size_t i = 0; i < n; ++i) {
        uint16_t half;
        std::memcpy(&half, in + i * 2, 2);
        to[i] = widen_f16(half);
      }
      return;
    case Format::f64:
      for (size_t i = 0; i < n; ++i) {
        double value;
        std::memcpy(&value, in + i * 8, 8);
        to[i] = static_cast<float>(value);
      }
      return;
    case Format::f8_e4m3:
      return widen_e4m3(from, to);
  }
}

void check_finite(const Stored& stored, int64_t first, std::span<const float> values) {
  const size_t bad = first_with<uint32_t, 0x7F800000>(values);
  if (bad != values.size()) refuse(stored, first + static_cast<int64_t>(bad), values[bad]);
}

void check_finite(const Stored& stored, int64_t first, std::span<const uint16_t> bf16) {
  const size_t bad = first_with<uint16_t, 0x7F80>(bf16);
  if (bad != bf16.size()) refuse(stored, first + static_cast<int64_t>(bad), f32_from_bf16(bf16[bad]));
}

void check_finite(const Stored& stored) {
  std::array<float, 4096> piece;
  for (int64_t at = 0; at < stored.count();) {
    const auto n = static_cast<size_t>(std::min<int64_t>(std::ssize(piece), stored.count() - at));
    const auto values = std::span(piece).first(n);
    stored.read(at, values);
    check_finite(stored, at, values);
    at += static_cast<int64_t>(n);
  }
}

namespace {

// Reads all of a tensor in elements of type T, and passes it on in pieces that stay in a core's cache.
template <class T>
void read_in_pieces(const Stored& stored, Memory& memory, const Tensor& to, bool check) {
  constexpr int64_t kPiece = int64_t{1} << 15;
  std::vector<T> piece(static_cast<size_t>(std::min(kPiece, to.count())));
  for (int64_t first = 0; first < to.count(); first += kPiece) {
    const auto part = std::span(piece).first(static_cast<size_t>(std::min(kPiece, to.count() - first)));
    stored.read(first, part);
    if (check) check_finite(stored, first, std::span<const T>(part));
    memory.write(static_cast<T*>(to.data) + first, part.data(), part.size_bytes());
  }
}

}  // namespace

void read_finite(const Stored& stored, Memory& memory, const Tensor& to) {
  if (to.dtype == DType::f32) return read_in_pieces<float>(stored, memory, to, true);
  // A value may become infinite as bf16 although the file's is finite, which is not the file's fault.
  const bool same = stored.format == Format::bf16;
  if (!same) check_finite(stored);
  read_in_pieces<uint16_t>(stored, memory, to, same);
}

}  // namespace r1
