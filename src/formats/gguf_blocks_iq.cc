// The IQ2 and IQ3 types: groups of elements are entries of a codebook, with a sign for each element.
#include <bit>
#include <cstring>

#include "formats/gguf_blocks.h"
#include "formats/gguf_blocks_grids.h"
#include "tensor/dtype.h"

namespace r1::gguf_blocks {
namespace {

// The meaning of the bits of an entry.
constexpr float kTwoBits[4] = {0x08, 0x19, 0x2B, 0};
constexpr float kThreeBits[8] = {0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3E};
constexpr float kOddBits[8] = {1, 3, 5, 7, 9, 11, 13, 15};

unsigned byte_of(const std::byte* block, int at) {
  return static_cast<unsigned>(block[at]);
}

template <class T>
T load_from(const std::byte* block, int at) {
  T value;
  std::memcpy(&value, block + at, sizeof(T));
  return value;
}

// Seven signs are stored; the eighth makes the number of minus signs even.
unsigned even_signs(unsigned seven) {
  return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7;
}

float signed_by(float value, unsigned signs, int i) {
  return (signs >> i & 1) != 0 ? value * -1.0f : value;
}

void put_eight(float scale, unsigned entry, unsigned signs, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = signed_by(scale * kTwoBits[entry >> (2 * i) & 3], signs, i);
}

void put_four(float scale, unsigned entry, const float* levels, unsigned signs, float* out) {
  for (int i = 0; i < 4; ++i) out[i] = signed_by(scale * levels[entry >> (3 * i) & 7], signs, i);
}

// Scale of four bits number k of those at `scales`, for IQ2.
float scale_of(float d, const std::byte* scales, int k) {
  const unsigned s = byte_of(scales, k / 2) >> (k % 2 * 4) & 15;
  return d * (0.5f + static_cast<float>(s)) * 0.25f;
}

}  // namespace

void iq2_xxs(const std::byte* b, float* out) {  // d; per 32: four entries, then four signs and a scale
  const float d = f32_from_f16(load_from<uint16_t>(b, 0));
  for (int j = 0; j < 8; ++j) {
    const std::byte* const part = b + 2 + 8 * j;
    const uint32_t rest = load_from<uint32_t>(part, 4);
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
    for (int k = 0; k < 4; ++k)
      put_eight(scale, kIq2XxsGrid[byte_of(part, k)], even_signs(rest >> (7 * k) & 127),
                out + 32 * j + 8 * k);
  }
}

void iq2_xs(const std::byte* b, float* out) {  // d, 32 entries of nine bits with seven signs, 16 scales
  const float d = f32_from_f16(load_from<uint16_t>(b, 0));
  for (int k = 0; k < 32; ++k) {
    const unsigned q = load_from<uint16_t>(b, 2 + 2 * k);
    put_eight(scale_of(d, b + 66, k / 2), kIq2XsGrid[q & 511], even_signs(q >> 9), out + 8 * k);
  }
}

void iq2_s(const std::byte* b, float* out) {  // d, 32 entries, 32 bytes of signs, high pairs, 16 scales
  const float d = f32_from_f16(load_from<uint16_t>(b, 0));
  for (int k = 0; k < 32; ++k) {
    const unsigned high = byte_of(b, 66 + k / 4) >> (k % 4 * 2) & 3;
    put_eight(scale_of(d, b + 74, k / 2), kIq2SGrid[byte_of(b, 2 + k) | high << 8], byte_of(b, 34 + k),
              out + 8 * k);
  }
}

void iq3_xxs(const std::byte* b, float* out) {  // d, 64 entries; per 32: four signs and a scale
  const float d = f32_from_f16(load_from<uint16_t>(b, 0));
  for (int j = 0; j < 8; ++j) {
    const uint32_t rest = load_from<uint32_t>(b, 66 + 4 * j);
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
    for (int k = 0; k < 8; ++k) {
      const unsigned signs = even_signs(rest >> (k / 2 * 7) & 127) >> (k % 2 * 4);
      put_four(scale, kIq3XxsGrid[byte_of(b, 2 + 8 * j + k)], kThreeBits, signs, out + 32 * j + 4 * k);
    }
  }
}

void iq3_s(const std::byte* b, float* out) {  // d, 64 entries, ninth bits, 32 bytes of signs, 8 scales
  const float d = f32_from_f16(load_from<uint16_t>(b, 0));
  for (int k = 0; k < 64; ++k) {
    const unsigned ninth = byte_of(b, 66 + k / 8) >> (k % 8) & 1;
    const unsigned s = byte_of(b, 106 + k / 16) >> (k / 8 % 2 * 4) & 15;
    const float scale = d * static_cast<float>(1 + 2 * s);
    const unsigned signs = byte_of(b, 74 + k / 2) >> (k % 2 * 4);
    put_four(scale, kIq3SGrid[byte_of(b, 2 + k) | ninth << 8], kOddBits, signs, out + 4 * k);
  }
}

}  // namespace r1::gguf_blocks
