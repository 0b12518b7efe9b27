// Makes the blocks of 256 elements: Q2_K to Q6_K and IQ4_XS.
//
// A block has one f16 scale d (Q2_K, Q4_K and Q5_K: and one for the minimums, dmin), and 8 or 16 parts with
// scales of a few bits. First each part gets the real scale that suits it best (formats/gguf_fit.h). d makes
// the largest of them fit. Then two things take turns: each part tries its code and the codes beside it, and
// d (and dmin) become the least weighted squared error for what all parts have chosen. The best state that
// was met is the block.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_fit.h"
#include "formats/gguf_makers.h"
#include "tensor/dtype.h"

namespace r1 {
namespace {

using gguf_blocks::half_of;

constexpr int kLarge = 256;
constexpr int kTurns = 2;

float half_rounded(GgufType type, float value) {
  return f32_from_f16(half_of(type, value));
}

// A block of parts with a scale each: values d * code * level.
template <int N>  // elements of a part
struct Scaled {
  static constexpr int kParts = kLarge / N;
  float d = 0;
  std::array<float, kParts> code{};
  std::array<float, kLarge> level{};
  float error = INFINITY;
};

// The weighted error of one part with `scale`; `level` gets its levels.
template <int N, class Levels>
float round_part(const float* x, const float* w, float scale, const Levels& levels, float* level) {
  const float over = gguf_fit::inverse(scale);
  for (int i = 0; i < N; ++i) level[i] = levels.nearest(x[i] * over);
  return gguf_fit::sum<N>([&](int i) {
    const float off = scale * level[i] - x[i];
    return w[i] * off * off;
  });
}

// Each part takes the best of its code and the two beside it.
template <int N, class Levels>
void choose_codes(const float* x, const float* w, float low, float high, const Levels& levels, Scaled<N>& b) {
  b.error = 0;
  for (int j = 0; j < Scaled<N>::kParts; ++j) {
    const float* const px = x + j * N;
    const float* const pw = w + j * N;
    const float center = b.code[static_cast<size_t>(j)];
    float best = INFINITY, level[N];
    for (const float code : {center, center - 1.0f, center + 1.0f}) {
      if (code < low || code > high) continue;
      const float error = round_part<N>(px, pw, b.d * code, levels, level);
      if (!(error < best)) continue;
      best = error;
      b.code[static_cast<size_t>(j)] = code;
      std::copy_n(level, N, b.level.begin() + j * N);
    }
    b.error += best;
  }
}

template <int N, class Levels>
Scaled<N> fit_scaled(GgufType type, const float* x, const float* w, float low, float high,
                     const Levels& levels) {
  constexpr int kParts = Scaled<N>::kParts;
  std::array<float, kParts> scale;
  for (int j = 0; j < kParts; ++j)
    scale[static_cast<size_t>(j)] = gguf_fit::fit_scale<N>(x + j * N, w + j * N, levels);
  const float largest = gguf_fit::largest_magnitude<kParts>(scale.data());
  Scaled<N> b, best;
  b.d = half_rounded(type, largest / low);  // the range of codes is longer on its negative side
  for (int turn = 0;; ++turn) {
    const float over = gguf_fit::inverse(b.d);
    if (turn == 0) {
      for (int j = 0; j < kParts; ++j) {
        const auto at = static_cast<size_t>(j);
        b.code[at] = gguf_fit::round_even(gguf_fit::clamped(scale[at] * over, low, high));
      }
    }
    choose_codes<N>(x, w, low, high, levels, b);
    if (b.error < best.error) best = b;
    if (turn == kTurns) break;
    // d of least error for the chosen codes and levels.
    float qx = 0, qq = 0;
    for (int j = 0; j < kParts; ++j) {
      const float code = b.code[static_cast<size_t>(j)];
      const float* const level = b.level.data() + j * N;
      qx += code * gguf_fit::sum<N>([&](int i) { return w[j * N + i] * x[j * N + i] * level[i]; });
      qq += code * code * gguf_fit::sum<N>([&](int i) { return w[j * N + i] * level[i] * level[i]; });
    }
    if (!(qq > 0.0f)) break;
    b.d = half_rounded(type, qx / qq);
  }
  return best;
}

// A block of parts with a scale and a minimum each: values d * scale * q - dmin * least.
template <int N>
struct Lined {
  static constexpr int kParts = kLarge / N;
  float d = 0, dmin = 0;
  std::array<float, kParts> scale{}, least{};
  std::array<float, kLarge> q{};
  float error = INFINITY;
};

template <int N>
float round_line(const float* x, const float* w, float scale, float least, float most, float* q) {
  const float over = gguf_fit::inverse(scale);
  for (int i = 0; i < N; ++i)
    q[i] = gguf_fit::round_even(gguf_fit::clamped((x[i] + least) * over, 0.0f, most));
  return gguf_fit::sum<N>([&](int i) {
    const float off = scale * q[i] - least - x[i];
    return w[i] * off * off;
  });
}

template <int N>
void choose_lines(const float* x, const float* w, float top, float most, Lined<N>& b) {
  b.error = 0;
  for (int j = 0; j < Lined<N>::kParts; ++j) {
    const auto at = static_cast<size_t>(j);
    const float scale = b.scale[at], least = b.least[at];
    float best = INFINITY, q[N];
    for (const float s : {scale, scale - 1.0f, scale + 1.0f}) {
      for (const float l : {least, least - 1.0f, least + 1.0f}) {
        if (s < 0.0f || s > top || l < 0.0f || l > top) continue;
        const float error = round_line<N>(x + j * N, w + j * N, b.d * s, b.dmin * l, most, q);
        if (!(error < best)) continue;
        best = error;
        b.scale[at] = s;
        b.least[at] = l;
        std::copy_n(q, N, b.q.begin() + j * N);
      }
    }
    b.error += best;
  }
}

// d and dmin of least error for the chosen codes.
template <int N>
bool solve_lines(GgufType type, const float* x, const float* w, Lined<N>& b) {
  float aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // a = scale * q, b = -least
  for (int j = 0; j < Lined<N>::kParts; ++j) {
    const float s = b.scale[static_cast<size_t>(j)], l = -b.least[static_cast<size_t>(j)];
    const float* const q = b.q.data() + j * N;
    const float* const pw = w + j * N;
    const float* const px = x + j * N;
    aa += s * s * gguf_fit::sum<N>([&](int i) { return pw[i] * q[i] * q[i]; });
    ab += s * l * gguf_fit::sum<N>([&](int i) { return pw[i] * q[i]; });
    bb += l * l * gguf_fit::sum<N>([&](int i) { return pw[i]; });
    ax += s * gguf_fit::sum<N>([&](int i) { return pw[i] * q[i] * px[i]; });
    bx += l * gguf_fit::sum<N>([&](int i) { return pw[i] * px[i]; });
  }
  const float determinant = aa * bb - ab * ab;
  float d = 0, dmin = b.dmin;
  if (determinant > 1e-6f * aa * bb) {
    d = (bb * ax - ab * bx) / determinant;
    dmin = (aa * bx - ab * ax) / determinant;
  } else if (aa > 0.0f) {
    d = (ax - ab * dmin) / aa;
  }
  if (!(d > 0.0f) || !(dmin >= 0.0f)) return false;
  b.d = half_rounded(type, d);
  b.dmin = half_rounded(type, dmin);
  return true;
}

template <int N>
Lined<N> fit_lined(GgufType type, const float* x, const float* w, float top, float most) {
  constexpr int kParts = Lined<N>::kParts;
  std::array<gguf_fit::Line, kParts> lines;
  float scales = 0, leasts = 0;
  for (int j = 0; j < kParts; ++j) {
    gguf_fit::Line& line = lines[static_cast<size_t>(j)];
    line = gguf_fit::fit_line<N>(x + j * N, w + j * N, most, true);
    scales = std::max(scales, line.scale);
    leasts = std::max(leasts, -line.least);
  }
  Lined<N> b, best;
  b.d = half_rounded(type, scales / top);
  b.dmin = half_rounded(type, leasts / top);
  const float over = gguf_fit::inverse(b.d), over_min = gguf_fit::inverse(b.dmin);
  for (size_t j = 0; j < kParts; ++j) {
    b.scale[j] = gguf_fit::round_even(gguf_fit::clamped(lines[j].scale * over, 0.0f, top));
    b.least[j] = gguf_fit::round_even(gguf_fit::clamped(-lines[j].least * over_min, 0.0f, top));
  }
  for (int turn = 0;; ++turn) {
    choose_lines<N>(x, w, top, most, b);
    if (b.error < best.error) best = b;
    if (turn == kTurns || !solve_lines<N>(type, x, w, b)) break;
  }
  return best;
}

void put_half_bits(GgufType type, float value, std::byte* out) {
  gguf_blocks::put_half(type, value, out);
}

// Two bits of each element: part j of 8 (32 elements) lies in bytes 32 * (j / 4) on, at bit 2 * (j % 4).
void put_two_bits(const unsigned* q, std::byte* out) {
  for (int j = 0; j < 8; ++j)
    for (int l = 0; l < 32; ++l)
      out[j / 4 * 32 + l] |= static_cast<std::byte>((q[32 * j + l] & 3) << (j % 4 * 2));
}

void make_q2_k(const float* x, const float* w, std::byte* out) {
  const Lined<16> b = fit_lined<16>(GgufType::q2_k, x, w, 15.0f, 3.0f);
  for (size_t k = 0; k < 16; ++k)
    out[k] =
        static_cast<std::byte>(static_cast<unsigned>(b.scale[k]) | static_cast<unsigned>(b.least[k]) << 4);
  unsigned q[kLarge];
  for (size_t i = 0; i < kLarge; ++i) q[i] = static_cast<unsigned>(b.q[i]);
  put_two_bits(q, out + 16);
  put_half_bits(GgufType::q2_k, b.d, out + 80);
  put_half_bits(GgufType::q2_k, b.dmin, out + 82);
}

void make_q3_k(const float* x, const float* w, std::byte* out) {
  const Scaled<16> b = fit_scaled<16>(GgufType::q3_k, x, w, -32.0f, 31.0f, gguf_fit::WholeLevels{-4, 3});
  unsigned q[kLarge];
  for (int i = 0; i < kLarge; ++i) {
    q[i] = static_cast<unsigned>(static_cast<int>(b.level[static_cast<size_t>(i)]) + 4);
    out[i % 32] |= static_cast<std::byte>((q[i] >> 2) << (i / 32));
  }
  put_two_bits(q, out + 32);
  for (int k = 0; k < 16; ++k) {
    const auto code = static_cast<unsigned>(static_cast<int>(b.code[static_cast<size_t>(k)]) + 32);
    out[96 + k % 8] |= static_cast<std::byte>((code & 15) << (k < 8 ? 0 : 4));
    out[104 + k % 4] |= static_cast<std::byte>((code >> 4) << (k / 4 * 2));
  }
  put_half_bits(GgufType::q3_k, b.d, out + 108);
}

// Q4_K and Q5_K: scales and minimums of six bits in twelve bytes, those of the last four parts cut in two.
void make_q45_k(GgufType type, const float* x, const float* w, std::byte* out) {
  const bool fifth = type == GgufType::q5_k;
  const Lined<32> b = fit_lined<32>(type, x, w, 63.0f, fifth ? 31.0f : 15.0f);
  put_half_bits(type, b.d, out);
  put_half_bits(type, b.dmin, out + 2);
  for (size_t j = 0; j < 8; ++j) {
    const auto s = static_cast<unsigned>(b.scale[j]), l = static_cast<unsigned>(b.least[j]);
    std::byte* const at = out + 4;
    if (j < 4) {
      at[j] |= static_cast<std::byte>(s);
      at[j + 4] |= static_cast<std::byte>(l);
    } else {
      at[j + 4] |= static_cast<std::byte>((s & 15) | (l & 15) << 4);
      at[j - 4] |= static_cast<std::byte>((s >> 4) << 6);
      at[j] |= static_cast<std::byte>((l >> 4) << 6);
    }
  }
  std::byte* const high = out + 16;
  std::byte* const low = out + (fifth ? 48 : 16);
  for (size_t i = 0; i < kLarge; ++i) {
    const size_t j = i / 32, l = i % 32;
    const auto q = static_cast<unsigned>(b.q[i]);
    low[j / 2 * 32 + l] |= static_cast<std::byte>((q & 15) << (j % 2 * 4));
    if (fifth) high[l] |= static_cast<std::byte>((q >> 4) << j);
  }
}

void make_q6_k(const float* x, const float* w, std::byte* out) {
  const Scaled<16> b = fit_scaled<16>(GgufType::q6_k, x, w, -128.0f, 127.0f, gguf_fit::WholeLevels{-32, 31});
  unsigned high[kLarge];
  for (int i = 0; i < kLarge; ++i) {
    const auto q = static_cast<unsigned>(static_cast<int>(b.level[static_cast<size_t>(i)]) + 32);
    const int j = i / 32;
    out[j / 4 * 64 + j % 2 * 32 + i % 32] |= static_cast<std::byte>((q & 15) << (j % 4 / 2 * 4));
    high[i] = q >> 4;
  }
  put_two_bits(high, out + 128);
  for (size_t k = 0; k < 16; ++k) out[192 + k] = static_cast<std::byte>(static_cast<int8_t>(b.code[k]));
  put_half_bits(GgufType::q6_k, b.d, out + 208);
}

void make_iq4_xs(const float* x, const float* w, std::byte* out) {
  const Scaled<32> b = fit_scaled<32>(GgufType::iq4_xs, x, w, -32.0f, 31.0f, gguf_fit::FixedLevels{});
  put_half_bits(GgufType::iq4_xs, b.d, out);
  unsigned high = 0;
  for (size_t j = 0; j < 8; ++j) {
    const auto code = static_cast<unsigned>(static_cast<int>(b.code[j]) + 32);
    high |= (code >> 4) << (2 * j);
    out[4 + j / 2] |= static_cast<std::byte>((code & 15) << (j % 2 * 4));
    int q[32];
    for (size_t i = 0; i < 32; ++i) q[i] = gguf_fit::FixedLevels::index(b.level[32 * j + i]);
    gguf_blocks::put_nibbles(q, out + 8 + 16 * j);
  }
  const auto bits = static_cast<uint16_t>(high);
  std::memcpy(out + 2, &bits, sizeof(bits));
}

}  // namespace

void gguf_blocks::make_large_block(GgufType type, const float* x, const float* importance, std::byte* out) {
  float w[kLarge];
  gguf_fit::weigh<kLarge>(x, importance, w);
  std::memset(out, 0, static_cast<size_t>(row_of(type).bytes));
  switch (type) {
    case GgufType::q2_k:
      return make_q2_k(x, w, out);
    case GgufType::q3_k:
      return make_q3_k(x, w, out);
    case GgufType::q4_k:
    case GgufType::q5_k:
      return make_q45_k(type, x, w, out);
    case GgufType::q6_k:
      return make_q6_k(x, w, out);
    case GgufType::iq4_xs:
      return make_iq4_xs(x, w, out);
    default:
      R1_CHECK(false, name_of(type), " has no blocks of 256");
  }
}

}  // namespace r1
