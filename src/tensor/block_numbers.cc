// The integers of a block, format by format.
#include <cstring>

#include "base/error.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace r1 {
namespace {

using Block = const std::byte*;

int number_at(Block block, int at) {
  return static_cast<int>(block[at]);
}

float half_number(Block block, int at) {
  uint16_t bits;
  std::memcpy(&bits, block + at, sizeof(bits));
  return f32_from_f16(bits);
}

// Element i of 32 in sixteen bytes.
int half_byte(Block qs, int i) {
  return i < 16 ? number_at(qs, i) & 15 : number_at(qs, i - 16) >> 4;
}

// The legacy formats: nibbles at `qs`, fifth bits at `high` unless that is 0.
void read_nibbles(Block b, int qs, int high, int offset, BlockNumbers& out) {
  for (int i = 0; i < 32; ++i) {
    const int fifth = high == 0 ? 0 : number_at(b, high + i / 8) >> (i % 8) & 1;
    out.q[i] = static_cast<int16_t>((half_byte(b + qs, i) | fifth << 4) - offset);
  }
}

// Two bits of each of 64 bytes: element i of 256.
int two_bits(Block qs, int i) {
  return number_at(qs, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
}

void read_q2_k(Block b, BlockNumbers& out) {
  for (int k = 0; k < 16; ++k) {
    out.scale[k] = static_cast<int16_t>(number_at(b, k) & 15);
    out.least[k] = static_cast<int16_t>(number_at(b, k) >> 4);
  }
  for (int i = 0; i < 256; ++i) out.q[i] = static_cast<int16_t>(two_bits(b + 16, i));
  out.d = half_number(b, 80);
  out.dmin = half_number(b, 82);
}

void read_q3_k(Block b, BlockNumbers& out) {
  for (int k = 0; k < 16; ++k) {
    const int low = number_at(b, 96 + k % 8) >> (k < 8 ? 0 : 4) & 15;
    const int high = number_at(b, 104 + k % 4) >> (k / 4 * 2) & 3;
    out.scale[k] = static_cast<int16_t>((low | high << 4) - 32);
  }
  for (int i = 0; i < 256; ++i) {
    const int third = number_at(b, i % 32) >> (i / 32) & 1;
    out.q[i] = static_cast<int16_t>(two_bits(b + 32, i) + 4 * third - 4);
  }
  out.d = half_number(b, 108);
}

void read_q45_k(Block b, bool fifth, BlockNumbers& out) {
  const Block s = b + 4, high = b + 16, low = fifth ? b + 48 : b + 16;
  for (int j = 0; j < 8; ++j) {
    const int top = j < 4 ? 0 : number_at(s, j - 4) >> 6, top_least = j < 4 ? 0 : number_at(s, j) >> 6;
    out.scale[j] = static_cast<int16_t>(j < 4 ? number_at(s, j) & 63 : (number_at(s, j + 4) & 15) | top << 4);
    out.least[j] =
        static_cast<int16_t>(j < 4 ? number_at(s, j + 4) & 63 : number_at(s, j + 4) >> 4 | top_least << 4);
    for (int i = 0; i < 32; ++i) {
      const int q = number_at(low, j / 2 * 32 + i) >> (j % 2 * 4) & 15;
      const int bit = fifth ? number_at(high, i) >> j & 1 : 0;
      out.q[32 * j + i] = static_cast<int16_t>(q | bit << 4);
    }
  }
  out.d = half_number(b, 0);
  out.dmin = half_number(b, 2);
}

void read_q6_k(Block b, BlockNumbers& out) {
  for (int k = 0; k < 16; ++k) out.scale[k] = static_cast<int8_t>(number_at(b, 192 + k));
  for (int i = 0; i < 256; ++i) {
    const int low = number_at(b, i / 128 * 64 + i % 64) >> (i % 128 / 64 * 4) & 15;
    out.q[i] = static_cast<int16_t>((low | two_bits(b + 128, i) << 4) - 32);
  }
  out.d = half_number(b, 208);
}

void read_iq4_xs(Block b, BlockNumbers& out) {
  for (int j = 0; j < 8; ++j) {
    const int low = number_at(b, 4 + j / 2) >> (j % 2 * 4) & 15,
              high = number_at(b, 2 + j / 4) >> (j % 4 * 2) & 3;
    out.scale[j] = static_cast<int16_t>((low | high << 4) - 32);
    for (int i = 0; i < 32; ++i) out.q[32 * j + i] = blocks::kLevels[half_byte(b + 8 + 16 * j, i)];
  }
  out.d = half_number(b, 0);
}

void read_one_scale(Format format, Block b, BlockNumbers& out) {
  out.scale[0] = 1;
  out.d = half_number(b, 0);
  switch (format) {
    case Format::q4_0:
      return read_nibbles(b, 2, 0, 8, out);
    case Format::q4_1:
      return read_nibbles(b, 4, 0, 0, out);
    case Format::q5_0:
      return read_nibbles(b, 6, 2, 16, out);
    case Format::q5_1:
      return read_nibbles(b, 8, 4, 0, out);
    case Format::iq4_nl:
      for (int i = 0; i < 32; ++i) out.q[i] = blocks::kLevels[half_byte(b + 2, i)];
      return;
    default:
      for (int i = 0; i < 32; ++i) out.q[i] = static_cast<int8_t>(number_at(b, 2 + i));
  }
}

}  // namespace

int sub_block(Format format) {
  switch (format) {
    case Format::q2_k:
    case Format::q3_k:
    case Format::q6_k:
    case Format::iq2_xs:
    case Format::iq2_s:
      return 16;
    default:
      return 32;
  }
}

bool has_minimum(Format format) {
  return format == Format::q4_1 || format == Format::q5_1 || format == Format::q2_k ||
         format == Format::q4_k || format == Format::q5_k;
}

void read_block(Format format, const std::byte* b, BlockNumbers& out) {
  R1_CHECK(is_blocks(format), name_of(format));
  out = {};
  switch (format) {
    case Format::q2_k:
      return read_q2_k(b, out);
    case Format::q3_k:
      return read_q3_k(b, out);
    case Format::q4_k:
      return read_q45_k(b, false, out);
    case Format::q5_k:
      return read_q45_k(b, true, out);
    case Format::q6_k:
      return read_q6_k(b, out);
    case Format::iq4_xs:
      return read_iq4_xs(b, out);
    case Format::iq2_xxs:
    case Format::iq2_xs:
    case Format::iq2_s:
    case Format::iq3_xxs:
    case Format::iq3_s:
      return blocks::read_iq(format, b, out);
    default:
      read_one_scale(format, b, out);
  }
  if (format == Format::q4_1 || format == Format::q5_1) {
    out.dmin = -half_number(b, 2);
    out.least[0] = 1;
  }
}

}  // namespace r1
