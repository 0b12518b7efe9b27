// The IQ2 and IQ3 types: groups of elements are entries of a codebook, with a sign for each element.
#include <bit>
#include <cstring>

#include "tensor/blocks.h"
#include "tensor/blocks_grids.h"
#include "tensor/dtype.h"

namespace r1::blocks {
namespace {

// The meaning of the bits of an entry.
constexpr int16_t kTwoBits[4] = {0x08, 0x19, 0x2B, 0};
constexpr int16_t kThreeBits[8] = {0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3E};
constexpr int16_t kOddBits[8] = {1, 3, 5, 7, 9, 11, 13, 15};

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

// Scale of four bits number k of those at `scales`, for IQ2.
int scale_of(const std::byte* scales, int k) {
  return static_cast<int>(byte_of(scales, k / 2) >> (k % 2 * 4) & 15);
}

// Each of these calls put(i, s, magnitude, is_negative) for every element i, where s is the scale's number.
template <class Put>
void put_eight(const Put& put, int first, int s, unsigned entry, unsigned signs) {
  for (int i = 0; i < 8; ++i) put(first + i, s, kTwoBits[entry >> (2 * i) & 3], (signs >> i & 1) != 0);
}

template <class Put>
void put_four(const Put& put, int first, int s, unsigned entry, const int16_t* levels, unsigned signs) {
  for (int i = 0; i < 4; ++i) put(first + i, s, levels[entry >> (3 * i) & 7], (signs >> i & 1) != 0);
}

template <class Put>
void each_iq2_xxs(const std::byte* b, const Put& put) {  // d; per 32: four entries, then four signs, a scale
  for (int j = 0; j < 8; ++j) {
    const std::byte* const part = b + 2 + 8 * j;
    const uint32_t rest = load_from<uint32_t>(part, 4);
    for (int k = 0; k < 4; ++k)
      put_eight(put, 32 * j + 8 * k, static_cast<int>(rest >> 28), kIq2XxsGrid[byte_of(part, k)],
                even_signs(rest >> (7 * k) & 127));
  }
}

template <class Put>
void each_iq2_xs(const std::byte* b, const Put& put) {  // d, 32 entries of nine bits, seven signs; 16 scales
  for (int k = 0; k < 32; ++k) {
    const unsigned q = load_from<uint16_t>(b, 2 + 2 * k);
    put_eight(put, 8 * k, scale_of(b + 66, k / 2), kIq2XsGrid[q & 511], even_signs(q >> 9));
  }
}

template <class Put>
void each_iq2_s(const std::byte* b, const Put& put) {  // d, 32 entries, 32 bytes of signs, highs, 16 scales
  for (int k = 0; k < 32; ++k) {
    const unsigned high = byte_of(b, 66 + k / 4) >> (k % 4 * 2) & 3;
    put_eight(put, 8 * k, scale_of(b + 74, k / 2), kIq2SGrid[byte_of(b, 2 + k) | high << 8],
              byte_of(b, 34 + k));
  }
}

template <class Put>
void each_iq3_xxs(const std::byte* b, const Put& put) {  // d, 64 entries; per 32: four signs and a scale
  for (int j = 0; j < 8; ++j) {
    const uint32_t rest = load_from<uint32_t>(b, 66 + 4 * j);
    for (int k = 0; k < 8; ++k) {
      const unsigned signs = even_signs(rest >> (k / 2 * 7) & 127) >> (k % 2 * 4);
      put_four(put, 32 * j + 4 * k, static_cast<int>(rest >> 28), kIq3XxsGrid[byte_of(b, 2 + 8 * j + k)],
               kThreeBits, signs);
    }
  }
}

template <class Put>
void each_iq3_s(const std::byte* b, const Put& put) {  // d, 64 entries, ninth bits, 32 bytes of signs, scales
  for (int k = 0; k < 64; ++k) {
    const unsigned ninth = byte_of(b, 66 + k / 8) >> (k % 8) & 1;
    const auto s = static_cast<int>(byte_of(b, 106 + k / 16) >> (k / 8 % 2 * 4) & 15);
    put_four(put, 4 * k, s, kIq3SGrid[byte_of(b, 2 + k) | ninth << 8], kOddBits,
             byte_of(b, 74 + k / 2) >> (k % 2 * 4));
  }
}

float d_of(const std::byte* block) {
  return f32_from_f16(load_from<uint16_t>(block, 0));
}

// Writes scale * magnitude with its sign, where scale = d * (s + 0.5) * part.
auto floats(const std::byte* b, float part, float* out) {
  return [d = d_of(b), part, out](int i, int s, int magnitude, bool is_negative) {
    const float value = d * (0.5f + static_cast<float>(s)) * part * static_cast<float>(magnitude);
    out[i] = is_negative ? value * -1.0f : value;
  };
}

}  // namespace

void iq2_xxs(const std::byte* b, float* out) {
  each_iq2_xxs(b, floats(b, 0.25f, out));
}

void iq2_xs(const std::byte* b, float* out) {
  each_iq2_xs(b, floats(b, 0.25f, out));
}

void iq2_s(const std::byte* b, float* out) {
  each_iq2_s(b, floats(b, 0.25f, out));
}

void iq3_xxs(const std::byte* b, float* out) {
  each_iq3_xxs(b, floats(b, 0.5f, out));
}

void iq3_s(const std::byte* b, float* out) {
  each_iq3_s(b, floats(b, 2.0f, out));
}

void read_iq(Format format, const std::byte* b, BlockNumbers& out) {
  const int sub = sub_block(format);
  const auto put = [&](int i, int s, int magnitude, bool is_negative) {
    out.scale[i / sub] = static_cast<int16_t>(2 * s + 1);
    out.q[i] = static_cast<int16_t>(is_negative ? -magnitude : magnitude);
  };
  // d * (s + 0.5) * part = (d * part / 2) * (2 s + 1): the factors are powers of two.
  out.d = d_of(b);
  switch (format) {
    case Format::iq2_xxs:
      out.d *= 0.125f;
      return each_iq2_xxs(b, put);
    case Format::iq2_xs:
      out.d *= 0.125f;
      return each_iq2_xs(b, put);
    case Format::iq2_s:
      out.d *= 0.125f;
      return each_iq2_s(b, put);
    case Format::iq3_xxs:
      out.d *= 0.25f;
      return each_iq3_xxs(b, put);
    default:
      return each_iq3_s(b, put);
  }
}

}  // namespace r1::blocks
