// Makes blocks of numbers, for the types whose scale follows from the largest number.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "tensor/dtype.h"

namespace r1 {
namespace {

constexpr size_t kBlock = 32;

void put_half(GgufType type, float value, std::byte* out) {
  const uint16_t bits = f16_from_f32(value);
  if ((bits & 0x7FFF) == 0x7C00)
    throw Error(fmt::format("a scale of {} does not fit in {}, whose scales are f16", value, name_of(type)));
  std::memcpy(out, &bits, sizeof(bits));
}

// 1 / d. A d that is so small that this is infinite becomes 0 in f16 anyway.
float inverse_of(float d) {
  return std::fabs(d) < std::numeric_limits<float>::min() ? 0.0f : 1.0f / d;
}

float of_largest_magnitude(const float* x) {
  return *std::max_element(x, x + kBlock, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

// Writes the low four bits of each q, two in a byte.
void put_nibbles(const int* q, std::byte* out) {
  for (size_t i = 0; i < kBlock / 2; ++i)
    out[i] = static_cast<std::byte>((q[i] & 15) | (q[i + kBlock / 2] & 15) << 4);
}

void put_fifth_bits(const int* q, std::byte* out) {
  uint32_t bits = 0;
  for (size_t i = 0; i < kBlock; ++i) bits |= static_cast<uint32_t>(q[i] >> 4 & 1) << i;
  std::memcpy(out, &bits, sizeof(bits));
}

// Q4_0 and Q5_0: the number of the largest magnitude becomes -`half`.
void make_symmetric(GgufType type, const float* x, int half, std::byte* out) {
  const float d = of_largest_magnitude(x) / static_cast<float>(-half);
  const float inverse = inverse_of(d);
  int q[kBlock];
  for (size_t i = 0; i < kBlock; ++i)
    q[i] = std::clamp(static_cast<int>(x[i] * inverse + (static_cast<float>(half) + 0.5f)), 0, 2 * half - 1);
  put_half(type, d, out);
  if (type == GgufType::q5_0) put_fifth_bits(q, out + 2);
  put_nibbles(q, out + (type == GgufType::q5_0 ? 6 : 2));
}

// Q4_1 and Q5_1: the least number is 0, the largest `most`.
void make_between(GgufType type, const float* x, int most, std::byte* out) {
  const float least = *std::min_element(x, x + kBlock);
  const float d = (*std::max_element(x, x + kBlock) - least) / static_cast<float>(most);
  const float inverse = inverse_of(d);
  int q[kBlock];
  for (size_t i = 0; i < kBlock; ++i)
    q[i] = std::clamp(static_cast<int>((x[i] - least) * inverse + 0.5f), 0, most);
  put_half(type, d, out);
  put_half(type, least, out + 2);
  if (type == GgufType::q5_1) put_fifth_bits(q, out + 4);
  put_nibbles(q, out + (type == GgufType::q5_1 ? 8 : 4));
}

void make_q8_0(const float* x, std::byte* out) {
  const float d = std::fabs(of_largest_magnitude(x)) / 127.0f;
  const float inverse = inverse_of(d);
  put_half(GgufType::q8_0, d, out);
  for (size_t i = 0; i < kBlock; ++i)
    out[2 + i] = static_cast<std::byte>(static_cast<int>(std::round(x[i] * inverse)));
}

void make_block(GgufType type, const float* x, std::byte* out) {
  switch (type) {
    case GgufType::q4_0:
      return make_symmetric(type, x, 8, out);
    case GgufType::q5_0:
      return make_symmetric(type, x, 16, out);
    case GgufType::q4_1:
      return make_between(type, x, 15, out);
    case GgufType::q5_1:
      return make_between(type, x, 31, out);
    default:
      return make_q8_0(x, out);
  }
}

void make_sixteen_bits(GgufType type, std::span<const float> values, std::span<std::byte> out) {
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = type == GgufType::f16 ? f16_from_f32(values[i]) : bf16_from_f32(values[i]);
    const uint16_t infinite = type == GgufType::f16 ? 0x7C00 : 0x7F80;
    if ((bits & 0x7FFF) == infinite)
      throw Error(fmt::format("the number {} does not fit in {}", values[i], name_of(type)));
    std::memcpy(out.data() + 2 * i, &bits, sizeof(bits));
  }
}

}  // namespace

bool can_quantize(GgufType type) {
  constexpr GgufType kTypes[] = {GgufType::f32,  GgufType::f16,  GgufType::bf16, GgufType::q4_0,
                                 GgufType::q4_1, GgufType::q5_0, GgufType::q5_1, GgufType::q8_0};
  return std::ranges::find(kTypes, type) != std::end(kTypes);
}

void quantize(GgufType type, std::span<const float> values, std::span<std::byte> out) {
  R1_CHECK(can_quantize(type), name_of(type));
  const auto bytes = static_cast<size_t>(row_of(type).bytes), block = static_cast<size_t>(row_of(type).block);
  const size_t count = values.size() / block;
  R1_CHECK(count * block == values.size() && count * bytes == out.size(), values.size(), " numbers for ",
           out.size(), " bytes of ", name_of(type));
  if (values.empty()) return;
  if (type == GgufType::f32) {
    std::memcpy(out.data(), values.data(), out.size());
  } else if (block == 1) {
    make_sixteen_bits(type, values, out);
  } else {
    for (size_t i = 0; i < count; ++i) make_block(type, values.data() + i * block, out.data() + i * bytes);
  }
}

}  // namespace r1
