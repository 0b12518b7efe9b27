#include "tensor/blocks.h"

#include <cstring>

#include "base/error.h"
#include "tensor/dtype.h"

namespace r1 {
namespace {

constexpr int kSmallBlock = 32;
using Bytes = const std::byte*;

unsigned byte_at(Bytes block, int at) {
  return static_cast<unsigned>(block[at]);
}

template <class T>
T load_at(Bytes block, int at) {
  T value;
  std::memcpy(&value, block + at, sizeof(T));
  return value;
}

float half_at(Bytes block, int at) {
  return f32_from_f16(load_at<uint16_t>(block, at));
}

// Sixteen bytes hold 32 elements: the low halves the first sixteen, the high halves the others.
int nibble_of(Bytes qs, int i) {
  return static_cast<int>(i < 16 ? byte_at(qs, i) & 15 : byte_at(qs, i - 16) >> 4);
}

void q4_0(Bytes b, float* out) {
  const float d = half_at(b, 0);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(nibble_of(b + 2, i) - 8);
}

void q4_1(Bytes b, float* out) {
  const float d = half_at(b, 0), m = half_at(b, 2);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(nibble_of(b + 4, i)) + m;
}

// Five bits: the fifth of element i is bit i of a 32-bit word before the nibbles.
int five_bits(Bytes high, int i) {
  return nibble_of(high + 4, i) | static_cast<int>((load_at<uint32_t>(high, 0) >> i & 1) << 4);
}

void q5_0(Bytes b, float* out) {
  const float d = half_at(b, 0);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(five_bits(b + 2, i) - 16);
}

void q5_1(Bytes b, float* out) {
  const float d = half_at(b, 0), m = half_at(b, 2);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(five_bits(b + 4, i)) + m;
}

void q8_0(Bytes b, float* out) {
  const float d = half_at(b, 0);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = static_cast<float>(load_at<int8_t>(b, 2 + i)) * d;
}

// Calls use(i, q) for the 32 elements that share two bits of each of 32 bytes: part j of 8, i from 32 j on.
template <class Use>
void each_two_bits(Bytes qs, int j, const Use& use) {
  const Bytes bytes = qs + j / 4 * 32;
  const int shift = j % 4 * 2;
  for (int l = 0; l < 32; ++l) use(32 * j + l, static_cast<int>(byte_at(bytes, l) >> shift & 3));
}

void q2_k(Bytes b, float* out) {  // 16 scales, 64 bytes of elements, d, dmin
  const float d = half_at(b, 80), dmin = half_at(b, 82);
  float scale[16], least[16];
  for (int k = 0; k < 16; ++k) {
    scale[k] = d * static_cast<float>(byte_at(b, k) & 15);
    least[k] = dmin * static_cast<float>(byte_at(b, k) >> 4);
  }
  for (int j = 0; j < 8; ++j)
    each_two_bits(b + 16, j,
                  [&](int i, int q) { out[i] = scale[i / 16] * static_cast<float>(q) - least[i / 16]; });
}

void q3_k(Bytes b, float* out) {  // 32 bytes of third bits, 64 bytes of elements, 12 bytes of scales, d
  const float d = half_at(b, 108);
  float scale[16];
  for (int k = 0; k < 16; ++k) {
    const unsigned low = byte_at(b, 96 + k % 8) >> (k < 8 ? 0 : 4) & 15;
    const unsigned high = byte_at(b, 104 + k % 4) >> (k / 4 * 2) & 3;
    scale[k] = d * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
  for (int j = 0; j < 8; ++j) {
    each_two_bits(b + 32, j, [&](int i, int q) {
      const int third = static_cast<int>(byte_at(b, i % 32) >> j & 1);  // if it is not set, 4 is subtracted
      out[i] = scale[i / 16] * static_cast<float>(q - 4 + 4 * third);
    });
  }
}

// Eight scales and eight minimums of six bits in twelve bytes.
struct SixBits {
  unsigned scale, least;
};
SixBits six_bits(Bytes s, int j) {
  if (j < 4) return {byte_at(s, j) & 63, byte_at(s, j + 4) & 63};
  return {(byte_at(s, j + 4) & 15) | (byte_at(s, j - 4) >> 2 & 0x30),
          (byte_at(s, j + 4) >> 4) | (byte_at(s, j) >> 2 & 0x30)};
}

// Q4_K and Q5_K: d, dmin, 12 bytes of scales, for Q5_K 32 bytes of fifth bits, 128 bytes of elements.
template <bool kFifth>
void q45_k(Bytes b, float* out) {
  const float d = half_at(b, 0), dmin = half_at(b, 2);
  const Bytes high = b + 16, low = kFifth ? b + 48 : b + 16;
  for (int j = 0; j < 8; ++j) {
    const SixBits s = six_bits(b + 4, j);
    const float scale = d * static_cast<float>(s.scale), least = dmin * static_cast<float>(s.least);
    for (int i = 0; i < 32; ++i) {
      unsigned q = byte_at(low, j / 2 * 32 + i) >> (j % 2 * 4) & 15;
      if constexpr (kFifth) q |= (byte_at(high, i) >> j & 1) << 4;
      out[32 * j + i] = scale * static_cast<float>(q) - least;
    }
  }
}

void q6_k(Bytes b, float* out) {  // 128 bytes of low halves, 64 bytes of high pairs, 16 scales, d
  const float d = half_at(b, 208);
  float scale[16];
  for (int k = 0; k < 16; ++k) scale[k] = d * static_cast<float>(load_at<int8_t>(b, 192 + k));
  for (int j = 0; j < 8; ++j) {
    const Bytes low = b + j / 4 * 64 + j % 2 * 32;
    const int shift = j % 4 / 2 * 4;
    each_two_bits(b + 128, j, [&](int i, int q) {
      const int all = static_cast<int>(byte_at(low, i % 32) >> shift & 15) | q << 4;
      out[i] = scale[i / 16] * static_cast<float>(all - 32);
    });
  }
}

void iq4_nl(Bytes b, float* out) {
  const float d = half_at(b, 0);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(blocks::kLevels[nibble_of(b + 2, i)]);
}

void iq4_xs(Bytes b, float* out) {  // d, 8 high pairs of scales, 8 low halves, 128 bytes of elements
  const float d = half_at(b, 0);
  const unsigned high = load_at<uint16_t>(b, 2);
  for (int j = 0; j < 8; ++j) {
    const unsigned low = byte_at(b, 4 + j / 2) >> (j % 2 * 4) & 15;
    const float scale = d * static_cast<float>(static_cast<int>(low | (high >> (2 * j) & 3) << 4) - 32);
    for (int i = 0; i < 32; ++i)
      out[32 * j + i] = scale * static_cast<float>(blocks::kLevels[nibble_of(b + 8 + 16 * j, i)]);
  }
}

using OneBlock = void (*)(Bytes, float*);

OneBlock function_of(Format format) {
  switch (format) {
    case Format::q4_0:
      return q4_0;
    case Format::q4_1:
      return q4_1;
    case Format::q5_0:
      return q5_0;
    case Format::q5_1:
      return q5_1;
    case Format::q8_0:
      return q8_0;
    case Format::q2_k:
      return q2_k;
    case Format::q3_k:
      return q3_k;
    case Format::q4_k:
      return q45_k<false>;
    case Format::q5_k:
      return q45_k<true>;
    case Format::q6_k:
      return q6_k;
    case Format::iq4_nl:
      return iq4_nl;
    case Format::iq4_xs:
      return iq4_xs;
    case Format::iq2_xxs:
      return blocks::iq2_xxs;
    case Format::iq2_xs:
      return blocks::iq2_xs;
    case Format::iq2_s:
      return blocks::iq2_s;
    case Format::iq3_xxs:
      return blocks::iq3_xxs;
    case Format::iq3_s:
      return blocks::iq3_s;
    default:
      return nullptr;
  }
}

}  // namespace

void dequantise_blocks(Format format, std::span<const std::byte> blocks, std::span<float> out) {
  const OneBlock function = function_of(format);
  R1_CHECK(function != nullptr, name_of(format), " has no blocks");
  const auto bytes = static_cast<size_t>(row_of(format).bytes),
             elements = static_cast<size_t>(row_of(format).elements);
  const size_t count = blocks.size() / bytes;
  R1_CHECK(count * bytes == blocks.size() && count * elements == out.size(), blocks.size(), " bytes of ",
           name_of(format), " for ", out.size(), " elements");
  for (size_t i = 0; i < count; ++i) function(blocks.data() + i * bytes, out.data() + i * elements);
}

}  // namespace r1
