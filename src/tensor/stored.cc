#include "tensor/stored.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/blocks.h"
#include "tensor/fp8.h"

namespace r1 {
namespace {

constexpr size_t kBytesAtATime = 16384;  // bytes that are converted at a time, on the stack
constexpr size_t kMostInABlock = 256;

constexpr FormatRow kFormatRows[] = {
    {Format::f64, "F64", 1, 8},
    {Format::f32, "F32", 1, 4},
    {Format::bf16, "BF16", 1, 2},
    {Format::f16, "F16", 1, 2},
    {Format::f8_e4m3, "F8_E4M3", 1, 1},
    {Format::q4_0, "Q4_0", 32, 18},
    {Format::q4_1, "Q4_1", 32, 20},
    {Format::q5_0, "Q5_0", 32, 22},
    {Format::q5_1, "Q5_1", 32, 24},
    {Format::q8_0, "Q8_0", 32, 34},
    {Format::q2_k, "Q2_K", 256, 84},
    {Format::q3_k, "Q3_K", 256, 110},
    {Format::q4_k, "Q4_K", 256, 144},
    {Format::q5_k, "Q5_K", 256, 176},
    {Format::q6_k, "Q6_K", 256, 210},
    {Format::iq4_nl, "IQ4_NL", 32, 18},
    {Format::iq4_xs, "IQ4_XS", 256, 136},
    {Format::iq2_xxs, "IQ2_XXS", 256, 66},
    {Format::iq2_xs, "IQ2_XS", 256, 74},
    {Format::iq2_s, "IQ2_S", 256, 82},
    {Format::iq3_xxs, "IQ3_XXS", 256, 98},
    {Format::iq3_s, "IQ3_S", 256, 110},
};
static_assert(std::size(kFormatRows) == kFormats);

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

// Reads whole blocks, or elements, piece by piece and passes each piece's bytes, and how many elements came
// before, to `use`.
template <class Use>
void in_pieces(const Stored& stored, int64_t first, size_t count, const Use& use) {
  alignas(64) std::array<std::byte, kBytesAtATime> piece;
  const FormatRow& row = row_of(stored.format);
  const auto elements = static_cast<size_t>(row.elements), block = static_cast<size_t>(row.bytes);
  for (size_t at = 0; at < count;) {
    const size_t n = std::min(piece.size() / block * elements, count - at);
    const auto bytes = std::span(piece).first(n / elements * block);
    stored.read_raw(first + static_cast<int64_t>(at), bytes);
    use(std::span<const std::byte>(bytes), at, n);
    at += n;
  }
}

void read_whole_blocks(const Stored& stored, int64_t first, std::span<float> to) {
  in_pieces(stored, first, to.size(), [&](std::span<const std::byte> bytes, size_t at, size_t n) {
    widen_stored(stored.format, bytes, to.subspan(at, n));
  });
}

// Elements of one block that the caller wants only in part.
void read_within_block(const Stored& stored, int64_t first, std::span<float> to) {
  const int64_t elements = row_of(stored.format).elements;
  std::array<float, kMostInABlock> block;
  read_whole_blocks(stored, first / elements * elements,
                    std::span(block).first(static_cast<size_t>(elements)));
  std::ranges::copy(std::span(block).subspan(static_cast<size_t>(first % elements), to.size()), to.begin());
}

}  // namespace

const FormatRow& row_of(Format format) {
  const FormatRow& row = kFormatRows[static_cast<size_t>(format)];
  R1_CHECK(row.format == format, static_cast<int>(format));
  return row;
}

int64_t bytes_of(Format format, int64_t elements) {
  const FormatRow& row = row_of(format);
  R1_CHECK(elements % row.elements == 0, elements, " elements in blocks of ", row.elements);
  return elements / row.elements * row.bytes;
}

Stored Stored::part(int64_t index) const {
  R1_CHECK(shape.rank() >= 2 && index >= 0 && index < shape[0], name, " ", shape.str(), ", part ", index);
  Stored out = *this;
  std::array<int64_t, 4> dims{};
  for (int d = 1; d < shape.rank(); ++d) dims[static_cast<size_t>(d - 1)] = shape[d];
  out.shape = Shape(std::span<const int64_t>(dims).first(static_cast<size_t>(shape.rank() - 1)));
  out.begin += static_cast<uint64_t>(bytes_of(format, index * out.shape.count()));
  if (scales != nullptr) out.scales = std::make_shared<Stored>(scales->part(index));
  return out;
}

void Stored::read_raw(int64_t first, std::span<std::byte> to) const {
  const FormatRow& row = row_of(format);
  const auto n = static_cast<int64_t>(to.size()) / row.bytes * row.elements;
  R1_CHECK(first >= 0 && first + n <= count(), name, " ", shape.str(), ": elements from ", first, ", ",
           to.size(), " bytes");
  owner->read(begin + static_cast<uint64_t>(bytes_of(format, first)), to, name);
}

void Stored::read(int64_t first, std::span<float> to) const {
  if (format == Format::f32) return read_raw(first, std::as_writable_bytes(to));
  if (format == Format::f8_e4m3) return read_fp8(*this, first, to);
  const int64_t elements = row_of(format).elements, end = first + static_cast<int64_t>(to.size());
  const int64_t whole = (first + elements - 1) / elements * elements, stop = end / elements * elements;
  const auto part = [&](int64_t from, int64_t until) {
    return to.subspan(static_cast<size_t>(from - first), static_cast<size_t>(until - from));
  };
  if (whole > stop) return read_within_block(*this, first, to);
  if (first < whole) read_within_block(*this, first, part(first, whole));
  read_whole_blocks(*this, whole, part(whole, stop));
  if (stop < end) read_within_block(*this, stop, part(stop, end));
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
  if (is_blocks(format)) return dequantise_blocks(format, from, to);
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
    default:
      R1_CHECK(false, name_of(format));
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
