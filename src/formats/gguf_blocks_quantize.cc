// Makes blocks of numbers: the choice of type, and the types of 32 elements. The types of 256 are in
// gguf_blocks_quantize_k.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_fit.h"
#include "formats/gguf_makers.h"
#include "tensor/dtype.h"

namespace r1 {
namespace gguf_blocks {

uint16_t half_of(GgufType type, float value) {
  const uint16_t bits = f16_from_f32(value);
  if ((bits & 0x7FFF) == 0x7C00)
    throw Error(fmt::format("a scale of {} does not fit in {}, whose scales are f16", value, name_of(type)));
  return bits;
}

float put_half(GgufType type, float value, std::byte* out) {
  const uint16_t bits = half_of(type, value);
  std::memcpy(out, &bits, sizeof(bits));
  return f32_from_f16(bits);
}

void put_nibbles(const int* q, std::byte* out) {
  for (size_t i = 0; i < 16; ++i) out[i] = static_cast<std::byte>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

}  // namespace gguf_blocks

namespace {

using gguf_blocks::put_half;
using gguf_blocks::put_nibbles;

constexpr int kSmall = 32;

void put_fifth_bits(const int* q, std::byte* out) {
  uint32_t bits = 0;
  for (int i = 0; i < kSmall; ++i) bits |= static_cast<uint32_t>(q[i] >> 4 & 1) << i;
  std::memcpy(out, &bits, sizeof(bits));
}

// Q4_0 and Q5_0: q from -half to half - 1, stored from 0 on.
void make_symmetric(GgufType type, const float* x, const float* importance, int half, std::byte* out) {
  float w[kSmall];
  gguf_fit::weigh<kSmall>(x, importance, w);
  const gguf_fit::WholeLevels levels{static_cast<float>(-half), static_cast<float>(half - 1)};
  const float d = put_half(type, gguf_fit::fit_scale<kSmall>(x, w, levels), out);
  const float over = gguf_fit::inverse(d);
  int q[kSmall];
  for (int i = 0; i < kSmall; ++i) q[i] = static_cast<int>(levels.nearest(x[i] * over)) + half;
  if (type == GgufType::q5_0) put_fifth_bits(q, out + 2);
  put_nibbles(q, out + (type == GgufType::q5_0 ? 6 : 2));
}

// Q4_1 and Q5_1.
void make_between(GgufType type, const float* x, const float* importance, int most, std::byte* out) {
  float w[kSmall];
  gguf_fit::weigh<kSmall>(x, importance, w);
  const gguf_fit::Line line = gguf_fit::fit_line<kSmall>(x, w, static_cast<float>(most), false);
  const float d = put_half(type, line.scale, out), least = put_half(type, line.least, out + 2);
  const float over = gguf_fit::inverse(d);
  const gguf_fit::WholeLevels levels{0.0f, static_cast<float>(most)};
  int q[kSmall];
  for (int i = 0; i < kSmall; ++i) q[i] = static_cast<int>(levels.nearest((x[i] - least) * over));
  if (type == GgufType::q5_1) put_fifth_bits(q, out + 4);
  put_nibbles(q, out + (type == GgufType::q5_1 ? 8 : 4));
}

void make_iq4_nl(const float* x, const float* importance, std::byte* out) {
  float w[kSmall];
  gguf_fit::weigh<kSmall>(x, importance, w);
  const gguf_fit::FixedLevels levels;
  const float d = put_half(GgufType::iq4_nl, gguf_fit::fit_scale<kSmall>(x, w, levels), out);
  const float over = gguf_fit::inverse(d);
  int q[kSmall];
  for (int i = 0; i < kSmall; ++i) q[i] = gguf_fit::FixedLevels::index(levels.nearest(x[i] * over));
  put_nibbles(q, out + 2);
}

// With 255 levels, a search gains nothing: the largest number is 127, halves round away from zero.
void make_q8_0(const float* x, std::byte* out) {
  const float d = std::fabs(gguf_fit::largest_magnitude<kSmall>(x)) / 127.0f;
  const float over = gguf_fit::inverse(d);
  put_half(GgufType::q8_0, d, out);
  for (int i = 0; i < kSmall; ++i)
    out[2 + i] = static_cast<std::byte>(static_cast<int>(std::round(x[i] * over)));
}

// Far beyond what a block holds: its scale would be infinite in f16. Below, no square overflows.
void check_range(GgufType type, const float* x) {
  constexpr float kMost = 1e9f;
  for (int64_t i = 0; i < row_of(type).block; ++i) {
    if (std::fabs(x[i]) > kMost)
      throw Error(fmt::format("the number {} does not fit in {}, whose scales are f16", x[i], name_of(type)));
  }
}

void make_block(GgufType type, const float* x, const float* importance, std::byte* out) {
  check_range(type, x);
  switch (type) {
    case GgufType::q4_0:
      return make_symmetric(type, x, importance, 8, out);
    case GgufType::q5_0:
      return make_symmetric(type, x, importance, 16, out);
    case GgufType::q4_1:
      return make_between(type, x, importance, 15, out);
    case GgufType::q5_1:
      return make_between(type, x, importance, 31, out);
    case GgufType::iq4_nl:
      return make_iq4_nl(x, importance, out);
    case GgufType::q8_0:
      return make_q8_0(x, out);
    default:
      return gguf_blocks::make_large_block(type, x, importance, out);
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

// Importance of mean 1, none of it 0: a column that nothing was seen of still has an order of numbers.
std::vector<float> of_mean_one(std::span<const float> importance) {
  double total = 0;
  for (const float v : importance) {
    R1_CHECK(v >= 0.0f && std::isfinite(v), v);
    total += static_cast<double>(v);
  }
  const double mean = total / static_cast<double>(importance.size());
  std::vector<float> out(importance.size(), 1.0f);
  if (mean == 0.0) return out;
  constexpr double kLeast = 1e-6;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(std::max(static_cast<double>(importance[i]) / mean, kLeast));
  return out;
}

}  // namespace

bool can_quantize(GgufType type) {
  constexpr GgufType kTypes[] = {GgufType::f32,  GgufType::f16,    GgufType::bf16,  GgufType::q8_0,
                                 GgufType::q6_k, GgufType::q5_k,   GgufType::q5_1,  GgufType::q5_0,
                                 GgufType::q4_k, GgufType::q4_1,   GgufType::q4_0,  GgufType::q3_k,
                                 GgufType::q2_k, GgufType::iq4_xs, GgufType::iq4_nl};
  return std::ranges::find(kTypes, type) != std::end(kTypes);
}

void quantize(GgufType type, std::span<const float> values, std::span<std::byte> out,
              std::span<const float> importance) {
  R1_CHECK(can_quantize(type), name_of(type));
  const auto bytes = static_cast<size_t>(row_of(type).bytes), block = static_cast<size_t>(row_of(type).block);
  const size_t count = values.size() / block;
  R1_CHECK(count * block == values.size() && count * bytes == out.size(), values.size(), " numbers for ",
           out.size(), " bytes of ", name_of(type));
  R1_CHECK(importance.empty() || importance.size() == values.size(), importance.size(), " of ",
           values.size());
  if (values.empty()) return;
  if (type == GgufType::f32) {
    std::memcpy(out.data(), values.data(), out.size());
  } else if (block == 1) {
    make_sixteen_bits(type, values, out);
  } else {
    const std::vector<float> weights = importance.empty() ? std::vector<float>() : of_mean_one(importance);
    for (size_t i = 0; i < count; ++i) {
      const float* const columns = weights.empty() ? nullptr : weights.data() + i * block;
      make_block(type, values.data() + i * block, columns, out.data() + i * bytes);
    }
  }
}

}  // namespace r1
