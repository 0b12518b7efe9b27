#include "tensor/transfer.h"

#include <array>

namespace r1 {
namespace {

constexpr size_t kValuesAtATime = 4096;  // bf16 values converted at a time, on the stack

std::byte* address(const Tensor& t, int64_t first, size_t count) {
  R1_CHECK(first >= 0 && first + static_cast<int64_t>(count) <= t.count(), "elements [", first, ", ",
           first + static_cast<int64_t>(count), ") of ", t.shape.str());
  R1_CHECK(t.dtype == DType::f32 || t.dtype == DType::bf16, name_of(t.dtype));
  return static_cast<std::byte*>(t.data) + static_cast<size_t>(first) * size_of(t.dtype);
}

}  // namespace

void read_values(Memory& memory, const Tensor& t, int64_t first, std::span<float> to, void* stream) {
  const std::byte* at = address(t, first, to.size());
  if (t.dtype == DType::f32) return memory.read(to.data(), at, to.size_bytes(), stream);
  std::array<uint16_t, kValuesAtATime> bits;
  for (size_t done = 0; done < to.size(); done += kValuesAtATime) {
    const size_t n = std::min(kValuesAtATime, to.size() - done);
    memory.read(bits.data(), at + done * sizeof(uint16_t), n * sizeof(uint16_t), stream);
    std::transform(bits.begin(), bits.begin() + static_cast<int64_t>(n),
                   to.begin() + static_cast<int64_t>(done), f32_from_bf16);
  }
}

void write_words(Memory& memory, const Tensor& t, std::span<const int32_t> from, void* stream) {
  R1_CHECK(std::ssize(from) <= t.count(), from.size(), " words into ", t.shape.str());
  memory.write(t.i32(), from.data(), from.size_bytes(), stream);
}

void write_values(Memory& memory, const Tensor& t, int64_t first, std::span<const float> from, void* stream) {
  std::byte* at = address(t, first, from.size());
  if (t.dtype == DType::f32) return memory.write(at, from.data(), from.size_bytes(), stream);
  std::array<uint16_t, kValuesAtATime> bits;
  for (size_t done = 0; done < from.size(); done += kValuesAtATime) {
    const auto part = from.subspan(done, std::min(kValuesAtATime, from.size() - done));
    std::ranges::transform(part, bits.begin(), bf16_from_f32);
    memory.write(at + done * sizeof(uint16_t), bits.data(), part.size() * sizeof(uint16_t), stream);
  }
}

void copy_values(Memory& memory, const Tensor& from, const Tensor& to, void* stream) {
  R1_CHECK(from.shape == to.shape && from.dtype == to.dtype, from.shape.str(), " ", name_of(from.dtype),
           " into ", to.shape.str(), " ", name_of(to.dtype));
  memory.copy(to.data, from.data, from.bytes(), stream);
}

void zero_values(Memory& memory, const Tensor& t, void* stream) {
  memory.zero(t.data, t.bytes(), stream);
}

}  // namespace r1
