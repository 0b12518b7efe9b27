// ops/matmul/quant_unpack_cpu.cc: words of a panel -> bytes, scales and minimums, lanes over outputs.
//
// A word holds four steps of k of one output. Which steps the halves, pairs and bits of a word belong to is
// fixed by the file's format, whose words the panel has; the loops below go through groups of four steps.
#include <cstring>

#include "base/error.h"
#include "ops/matmul/quant_unpack.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul/quant_unpack_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace quant_unpack_detail {
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::CappedTag<uint32_t, kQuantPanel>;
using V32 = hn::VFromD<D32>;
constexpr int64_t kGroup = 4 * kQuantPanel;  // bytes of a group: four steps of all outputs

// Calls f(lane) for each vector of the panel's lanes.
template <class F>
HWY_INLINE void each_vector(const F& f) {
  for (int64_t lane = 0; lane < kQuantPanel; lane += static_cast<int64_t>(hn::Lanes(D32()))) f(lane);
}

HWY_INLINE V32 word_at(const std::byte* part, int64_t word, int64_t lane) {
  return hn::LoadU(D32(), reinterpret_cast<const uint32_t*>(part) + word * kQuantPanel + lane);
}

HWY_INLINE void put_group(uint8_t* u, int64_t group, int64_t lane, V32 v) {
  hn::Store(v, D32(), reinterpret_cast<uint32_t*>(u + group * kGroup) + lane);
}

HWY_INLINE V32 low_halves(V32 v) {
  return hn::And(v, hn::Set(D32(), 0x0F0F0F0Fu));
}
HWY_INLINE V32 high_halves(V32 v) {
  return low_halves(hn::ShiftRight<4>(v));
}

// Bit `shift` and `shift + 1` of every byte, or one bit, moved to bit `to`.
template <int kShift, int kTo, uint32_t kMask>
HWY_INLINE V32 bits_at(V32 v) {
  if constexpr (kShift >= kTo) {
    return hn::And(hn::ShiftRight<kShift - kTo>(v), hn::Set(D32(), kMask << kTo));
  } else {
    return hn::And(hn::ShiftLeft<kTo - kShift>(v), hn::Set(D32(), kMask << kTo));
  }
}
constexpr uint32_t kOne = 0x01010101u, kTwo = 0x03030303u;

// The sixteen levels of IQ4, above -128.
HWY_INLINE V32 levels_of(V32 halves) {
  alignas(16) uint8_t table[16];
  for (int i = 0; i < 16; ++i) table[i] = static_cast<uint8_t>(blocks::kLevels[i] + 128);
  const hn::Repartition<uint8_t, D32> d8;
  return hn::BitCast(D32(), hn::TableLookupBytes(hn::LoadDup128(d8, table), hn::BitCast(d8, halves)));
}

// Four bits of each lane, from bit 4 * group on, as bit 4 of its four bytes.
HWY_INLINE V32 fifth_bits(V32 high, int group) {
  const V32 four = hn::And(hn::ShiftRightSame(high, 4 * group), hn::Set(D32(), 15u));
  const V32 spread =
      hn::Or(hn::Or(four, hn::ShiftLeft<7>(four)), hn::Or(hn::ShiftLeft<14>(four), hn::ShiftLeft<21>(four)));
  return hn::ShiftLeft<4>(hn::And(spread, hn::Set(D32(), kOne)));
}

// Blocks of 32: sixteen bytes of halves, the low ones first.
template <bool kFifth, bool kLevels>
HWY_INLINE void halves_of_32(const std::byte* qs, const std::byte* high, uint8_t* u) {
  each_vector([&](int64_t lane) {
    V32 fifth = hn::Zero(D32());
    if constexpr (kFifth) fifth = word_at(high, 0, lane);
    for (int i = 0; i < 4; ++i) {
      const V32 both = word_at(qs, i, lane);
      V32 a = low_halves(both), b = high_halves(both);
      if constexpr (kFifth) {
        a = hn::Or(a, fifth_bits(fifth, i));
        b = hn::Or(b, fifth_bits(fifth, i + 4));
      }
      if constexpr (kLevels) {
        a = levels_of(a);
        b = levels_of(b);
      }
      put_group(u, i, lane, a);
      put_group(u, i + 4, lane, b);
    }
  });
}

// Q4_K and Q5_K: 32 bytes hold two sub-blocks of 32, fifth bit j of 32 bytes those of sub-block j.
template <int kPair, bool kFifth>
HWY_INLINE void pair_of_subs(const std::byte* qs, const std::byte* high, int64_t lane, uint8_t* u) {
  for (int i = 0; i < 8; ++i) {
    const V32 both = word_at(qs, 8 * kPair + i, lane);
    V32 a = low_halves(both), b = high_halves(both);
    if constexpr (kFifth) {
      const V32 bits = word_at(high, i, lane);
      a = hn::Or(a, bits_at<2 * kPair, 4, kOne>(bits));
      b = hn::Or(b, bits_at<2 * kPair + 1, 4, kOne>(bits));
    }
    put_group(u, 16 * kPair + i, lane, a);
    put_group(u, 16 * kPair + 8 + i, lane, b);
  }
}

template <bool kFifth>
HWY_INLINE void q45_k(const std::byte* qs, const std::byte* high, uint8_t* u) {
  each_vector([&](int64_t lane) {
    pair_of_subs<0, kFifth>(qs, high, lane, u);
    pair_of_subs<1, kFifth>(qs, high, lane, u);
    pair_of_subs<2, kFifth>(qs, high, lane, u);
    pair_of_subs<3, kFifth>(qs, high, lane, u);
  });
}

// Q6_K: of each half of 128, 16 words of halves and 8 of upper pairs.
HWY_INLINE void q6_k(const std::byte* ql, const std::byte* qh, uint8_t* u) {
  each_vector([&](int64_t lane) {
    for (int h = 0; h < 2; ++h)
      for (int i = 0; i < 8; ++i) {
        const V32 a = word_at(ql, 16 * h + i, lane), b = word_at(ql, 16 * h + 8 + i, lane);
        const V32 pairs = word_at(qh, 8 * h + i, lane);
        put_group(u, 32 * h + i, lane, hn::Or(low_halves(a), bits_at<0, 4, kTwo>(pairs)));
        put_group(u, 32 * h + 8 + i, lane, hn::Or(low_halves(b), bits_at<2, 4, kTwo>(pairs)));
        put_group(u, 32 * h + 16 + i, lane, hn::Or(high_halves(a), bits_at<4, 4, kTwo>(pairs)));
        put_group(u, 32 * h + 24 + i, lane, hn::Or(high_halves(b), bits_at<6, 4, kTwo>(pairs)));
      }
  });
}

// Q2_K and Q3_K: pairs of bits, of each half of 128 eight words; third bit j of 32 bytes belongs to 32 j on.
template <int kHalf, bool kThird>
HWY_INLINE void half_of_pairs(const std::byte* qs, const std::byte* high, int64_t lane, uint8_t* u) {
  for (int i = 0; i < 8; ++i) {
    const V32 pairs = word_at(qs, 8 * kHalf + i, lane);
    V32 v[4] = {bits_at<0, 0, kTwo>(pairs), bits_at<2, 0, kTwo>(pairs), bits_at<4, 0, kTwo>(pairs),
                bits_at<6, 0, kTwo>(pairs)};
    if constexpr (kThird) {
      const V32 third = word_at(high, i, lane);
      v[0] = hn::Or(v[0], bits_at<4 * kHalf, 2, kOne>(third));
      v[1] = hn::Or(v[1], bits_at<4 * kHalf + 1, 2, kOne>(third));
      v[2] = hn::Or(v[2], bits_at<4 * kHalf + 2, 2, kOne>(third));
      v[3] = hn::Or(v[3], bits_at<4 * kHalf + 3, 2, kOne>(third));
    }
    for (int j = 0; j < 4; ++j) put_group(u, 32 * kHalf + 8 * j + i, lane, v[j]);
  }
}

template <bool kThird>
HWY_INLINE void q23_k(const std::byte* qs, const std::byte* high, uint8_t* u) {
  each_vector([&](int64_t lane) {
    half_of_pairs<0, kThird>(qs, high, lane, u);
    half_of_pairs<1, kThird>(qs, high, lane, u);
  });
}

// IQ4_XS: eight times sixteen bytes of halves.
HWY_INLINE void iq4_xs(const std::byte* qs, uint8_t* u) {
  each_vector([&](int64_t lane) {
    for (int j = 0; j < 8; ++j)
      for (int i = 0; i < 4; ++i) {
        const V32 both = word_at(qs, 4 * j + i, lane);
        put_group(u, 8 * j + i, lane, levels_of(low_halves(both)));
        put_group(u, 8 * j + 4 + i, lane, levels_of(high_halves(both)));
      }
  });
}

// ---- scales

// Byte i of each word.
template <int kByte>
HWY_INLINE V32 byte_of_words(V32 v) {
  return hn::And(hn::ShiftRight<8 * kByte>(v), hn::Set(D32(), 0xFFu));
}

HWY_INLINE void put_words(int32_t* to, int64_t at, int64_t lane, V32 v) {
  hn::Store(v, D32(), reinterpret_cast<uint32_t*>(to) + at * kQuantPanel + lane);
}

// Four bytes, minus `less`, as scales at, at + 1, at + 2, at + 3.
HWY_INLINE void put_four_scales(int32_t* scale, int64_t at, int64_t lane, V32 bytes, uint32_t less) {
  const V32 minus = hn::Set(D32(), less);
  put_words(scale, at, lane, hn::Sub(byte_of_words<0>(bytes), minus));
  put_words(scale, at + 1, lane, hn::Sub(byte_of_words<1>(bytes), minus));
  put_words(scale, at + 2, lane, hn::Sub(byte_of_words<2>(bytes), minus));
  put_words(scale, at + 3, lane, hn::Sub(byte_of_words<3>(bytes), minus));
}

// Four bytes as two pairs of int16.
HWY_INLINE void put_two_pairs(int32_t* least, int64_t at, int64_t lane, V32 bytes) {
  put_words(least, at, lane, hn::Or(byte_of_words<0>(bytes), hn::ShiftLeft<16>(byte_of_words<1>(bytes))));
  put_words(least, at + 1, lane, hn::Or(byte_of_words<2>(bytes), hn::ShiftLeft<16>(byte_of_words<3>(bytes))));
}

HWY_INLINE void scales_q45_k(const std::byte* s, int32_t* scale, int32_t* least) {
  each_vector([&](int64_t lane) {
    const V32 a = word_at(s, 0, lane), b = word_at(s, 1, lane), c = word_at(s, 2, lane);
    const V32 six = hn::Set(D32(), 0x3F3F3F3Fu);
    put_four_scales(scale, 0, lane, hn::And(a, six), 0);
    put_four_scales(scale, 4, lane, hn::Or(low_halves(c), bits_at<6, 4, kTwo>(a)), 0);
    put_two_pairs(least, 0, lane, hn::And(b, six));
    put_two_pairs(least, 2, lane, hn::Or(high_halves(c), bits_at<6, 4, kTwo>(b)));
  });
}

HWY_INLINE void scales_q2_k(const std::byte* s, int32_t* scale, int32_t* least) {
  each_vector([&](int64_t lane) {
    for (int i = 0; i < 4; ++i) {
      const V32 both = word_at(s, i, lane);
      put_four_scales(scale, 4 * i, lane, low_halves(both), 0);
      put_two_pairs(least, 2 * i, lane, high_halves(both));
    }
  });
}

HWY_INLINE void scales_q3_k(const std::byte* s, int32_t* scale) {
  each_vector([&](int64_t lane) {
    const V32 a = word_at(s, 0, lane), b = word_at(s, 1, lane), c = word_at(s, 2, lane);
    put_four_scales(scale, 0, lane, hn::Or(low_halves(a), bits_at<0, 4, kTwo>(c)), 32);
    put_four_scales(scale, 4, lane, hn::Or(low_halves(b), bits_at<2, 4, kTwo>(c)), 32);
    put_four_scales(scale, 8, lane, hn::Or(high_halves(a), bits_at<4, 4, kTwo>(c)), 32);
    put_four_scales(scale, 12, lane, hn::Or(high_halves(b), bits_at<6, 4, kTwo>(c)), 32);
  });
}

HWY_INLINE void scales_q6_k(const std::byte* s, int32_t* scale) {
  each_vector([&](int64_t lane) {
    for (int i = 0; i < 4; ++i) {
      // Bytes with their sign: flipped, they are 128 more than their number.
      put_four_scales(scale, 4 * i, lane, hn::Xor(word_at(s, i, lane), hn::Set(D32(), 0x80808080u)), 128);
    }
  });
}

HWY_INLINE void scales_iq4_xs(const std::byte* low, const std::byte* high, int32_t* scale) {
  const hn::Rebind<uint16_t, D32> d16;
  each_vector([&](int64_t lane) {
    const V32 l = word_at(low, 0, lane);
    const V32 h = hn::PromoteTo(D32(), hn::LoadU(d16, reinterpret_cast<const uint16_t*>(high) + lane));
    for (int j = 0; j < 8; ++j) {
      const V32 four = hn::And(hn::ShiftRightSame(l, 4 * j), hn::Set(D32(), 15u));
      const V32 two = hn::And(hn::ShiftRightSame(h, 2 * j), hn::Set(D32(), 3u));
      put_words(scale, j, lane, hn::Sub(hn::Or(four, hn::ShiftLeft<4>(two)), hn::Set(D32(), 32u)));
    }
  });
}

// Sixteen finite f16 -> f32 by the processor's conversion. The d of small weights are often denormal, for which
// shifting the bits and multiplying takes a hundred cycles.
HWY_INLINE void halves_to_f32(const std::byte* from, float* to) {
  const hn::RebindToFloat<D32> df;
  const hn::Rebind<hwy::float16_t, D32> d16;
  each_vector([&](int64_t lane) HWY_ATTR {
    const auto half = hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from) + lane);
    hn::Store(hn::PromoteTo(df, half), df, to + lane);
  });
}

}  // namespace quant_unpack_detail

// `count` blocks whose parts follow each other in the panel. Blocks are walked in here, so that a block of 32
// does not pay for a call.
void unpack_blocks(Format format, const QuantPartsOfBlock& p, int64_t count, uint8_t* u, int32_t* scale,
                   int32_t* least) {
  namespace detail = quant_unpack_detail;
  const QuantParts& parts = quant_parts(format);
  const QuantTraits& t = quant_traits(format);
  const int64_t elements = t.block * kQuantPanel, scales = t.block / t.sub * kQuantPanel;
  // Calls f with the addresses of each block's parts.
  const auto each_block = [&](const auto& f) HWY_ATTR {
    QuantPartsOfBlock at = p;
    for (int64_t b = 0; b < count; ++b, u += elements, scale += scales, least += scales / 2) {
      f(at.at);
      for (int i = 0; i < kMostParts; ++i) at.at[i] += parts.part[i].bytes * kQuantPanel;
    }
  };
  using Parts = const std::byte* const*;
  switch (format) {
    case Format::q4_0:
    case Format::q4_1:
      return each_block([&](Parts at) HWY_ATTR { detail::halves_of_32<false, false>(at[0], nullptr, u); });
    case Format::iq4_nl:
      return each_block([&](Parts at) HWY_ATTR { detail::halves_of_32<false, true>(at[0], nullptr, u); });
    case Format::q5_0:
    case Format::q5_1:
      return each_block([&](Parts at) HWY_ATTR { detail::halves_of_32<true, false>(at[0], at[1], u); });
    case Format::q2_k:
      return each_block([&](Parts at) HWY_ATTR {
        detail::q23_k<false>(at[0], nullptr, u);
        detail::scales_q2_k(at[1], scale, least);
      });
    case Format::q3_k:
      return each_block([&](Parts at) HWY_ATTR {
        detail::q23_k<true>(at[0], at[1], u);
        detail::scales_q3_k(at[2], scale);
      });
    case Format::q4_k:
      return each_block([&](Parts at) HWY_ATTR {
        detail::q45_k<false>(at[0], nullptr, u);
        detail::scales_q45_k(at[1], scale, least);
      });
    case Format::q5_k:
      return each_block([&](Parts at) HWY_ATTR {
        detail::q45_k<true>(at[0], at[1], u);
        detail::scales_q45_k(at[2], scale, least);
      });
    case Format::q6_k:
      return each_block([&](Parts at) HWY_ATTR {
        detail::q6_k(at[0], at[1], u);
        detail::scales_q6_k(at[2], scale);
      });
    case Format::iq4_xs:
      return each_block([&](Parts at) HWY_ATTR {
        detail::iq4_xs(at[0], u);
        detail::scales_iq4_xs(at[1], at[2], scale);
      });
    default:
      return;
  }
}

void unpack_halves(const std::byte* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i)
    quant_unpack_detail::halves_to_f32(from + i * 2 * kQuantPanel, to + i * kQuantPanel);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace r1 {
namespace {

HWY_EXPORT(unpack_blocks);
HWY_EXPORT(unpack_halves);

// IQ2 and IQ3: puts each output's block back and reads its numbers.
void unpack_slowly(const QuantTraits& t, const std::byte* part, int64_t blocks, QuantScratch& s) {
  const int64_t bytes = row_of(t.format).bytes, subs = t.block / t.sub;
  BlockNumbers numbers;
  std::byte block[256];
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t n = 0; n < kQuantPanel; ++n) {
      for (int64_t i = 0; i < bytes; i += 2)
        std::memcpy(block + i, part + (b * bytes + i) * kQuantPanel + 2 * n, 2);
      read_block(t.format, block, numbers);
      s.d[b * kQuantPanel + n] = numbers.d;
      for (int64_t j = 0; j < subs; ++j) s.scale[(b * subs + j) * kQuantPanel + n] = numbers.scale[j];
      for (int64_t i = 0; i < t.block; ++i) {
        s.u[(b * t.block + i / 4 * 4) * kQuantPanel + 4 * n + i % 4] =
            static_cast<uint8_t>(numbers.q[i] + t.offset);
      }
    }
}

}  // namespace

QuantChunk unpack_quant(const QuantTraits& t, const std::byte* panel, int64_t K, int64_t first, int64_t count,
                        QuantScratch& s) {
  const QuantParts& parts = quant_parts(t.format);
  const int64_t blocks = K / t.block;
  R1_CHECK(first >= 0 && count >= 0 && first + count <= blocks && count * t.block <= kChunk, first, " + ",
           count, " of ", blocks);
  QuantPartsOfBlock at{};
  for (int i = 0; i < parts.count; ++i) {
    at.at[i] = panel + first * parts.part[i].bytes * kQuantPanel;
    panel += blocks * parts.part[i].bytes * kQuantPanel;
  }
  QuantChunk out{.u = s.u, .d = s.d, .dmin = s.dmin, .scale = s.scale, .least = s.least};
  if (parts.count == 1) {
    unpack_slowly(t, at.at[0], count, s);
    return out;
  }
  const int d_part = parts.count - (t.minimum ? 2 : 1);
  if (t.format == Format::q8_0) {
    out.u = reinterpret_cast<const uint8_t*>(at.at[0]);
  } else {
    HWY_DYNAMIC_DISPATCH(unpack_blocks)(t.format, at, count, s.u, s.scale, s.least);
  }
  HWY_DYNAMIC_DISPATCH(unpack_halves)(at.at[d_part], count, s.d);
  if (t.minimum) {
    HWY_DYNAMIC_DISPATCH(unpack_halves)(at.at[d_part + 1], count, s.dmin);
    if (!t.scaled) {
      for (int64_t i = 0; i < count * kQuantPanel; ++i) s.dmin[i] = -s.dmin[i];
    }
  }
  return out;
}

}  // namespace r1
#endif  // HWY_ONCE
