// ops/attention/pages_cpu.cc: writes new keys and values into their pages.
#include <cstring>
#include <limits>

#include "ops/attention/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/pages_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/attention/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;

// Converts a value that is already rounded to bf16: its upper half.
HWY_INLINE uint16_t upper_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}

HWY_INLINE void put_keys(const float* from, int64_t stride, int64_t n, int64_t columns, float* to) {
  transpose_rows(from, stride, n, columns, to);
}
HWY_INLINE void put_keys(const float* from, int64_t stride, int64_t n, int64_t columns, uint16_t* to) {
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t t = 0; t < n; ++t) to[i * kKeyTile + t] = upper_half(from[t * stride + i]);
  }
}
HWY_INLINE void put_row(const float* from, int64_t columns, float* to) {
  copy_row(from, columns, to);
}
HWY_INLINE void put_row(const float* from, int64_t columns, uint16_t* to) {
  for (int64_t i = 0; i < columns; ++i) to[i] = upper_half(from[i]);
}

// Rounds `columns` numbers to q8 (attention.h): number i goes to to[i * stride]. Returns the scale.
HWY_INLINE float put_q8(const float* HWY_RESTRICT from, int64_t columns, int8_t* HWY_RESTRICT to,
                        int64_t stride) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  const hn::RebindToSigned<LaneTag> di;
  constexpr int64_t kLanes = static_cast<int64_t>(kLaneWidth);
  const auto load = [&](int64_t i) HWY_ATTR {
    return i + kLanes <= columns ? hn::LoadU(d, from + i)
                                 : load_some(d, from + i, static_cast<size_t>(columns - i));
  };
  // The bits of |x| are ordered as the numbers, with infinity and NaN above all.
  auto most = hn::Zero(di);
  for (int64_t i = 0; i < columns; i += kLanes)
    most = hn::Max(most, hn::And(hn::BitCast(di, load(i)), hn::Set(di, 0x7FFFFFFF)));
  const int32_t bits = hn::GetLane(hn::MaxOfLanes(di, most));
  float amax;
  memcpy(&amax, &bits, sizeof(amax));
  if (bits >= 0x7F800000 || amax < 0x1p-119f) {
    for (int64_t i = 0; i < columns; ++i) to[i * stride] = 0;
    return bits >= 0x7F800000 ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  }
  const auto inverse = hn::Set(d, 127.0f / amax);
  for (int64_t i = 0; i < columns; i += kLanes) {
    HWY_ALIGN int32_t numbers[kLaneWidth];
    hn::Store(hn::NearestInt(hn::Mul(load(i), inverse)), di, numbers);
    const int64_t n = columns - i < kLanes ? columns - i : kLanes;
    for (int64_t j = 0; j < n; ++j) to[(i + j) * stride] = static_cast<int8_t>(numbers[j]);
  }
  return amax / 127.0f;
}

// Keys and values of tokens [begin, begin + n) of one page, from slot `slot` on.
void write_q8(const Forward& f, int64_t page, int64_t slot, int64_t g, int64_t begin, int64_t n) {
  const auto& z = f.size;
  int8_t* numbers = static_cast<int8_t*>(f.element(page * f.page_elements));
  float *first = f.scales(page, g, 0), *second = f.scales(page, g, 1);
  for (int64_t t = begin; t < begin + n; ++t, ++slot) {
    const float* key = f.k + (t * z.G + g) * z.K;
    if (f.values_in_keys) {
      int8_t* row = numbers + (g * kKeyTile + slot) * z.K;
      first[slot] = put_q8(key, z.V, row, 1);
      second[slot] = put_q8(key + z.V, z.K - z.V, row + z.V, 1);
    } else {
      first[slot] = put_q8(key, z.K, numbers + g * z.K * kKeyTile + slot, kKeyTile);
      int8_t* values = numbers + f.values_at + (g * kKeyTile + slot) * z.V;
      second[slot] = put_q8(f.v + (t * z.G + g) * z.V, z.V, values, 1);
    }
  }
}

// Keys and values of tokens [begin, begin + n) of one page, from slot `slot` on.
template <class E>
void write_rows_of(const Forward& f, int64_t index, int64_t slot, int64_t g, int64_t begin, int64_t n) {
  const auto& z = f.size;
  E* page = static_cast<E*>(f.element(index * f.page_elements));
  if (f.values_in_keys) {
    for (int64_t t = 0; t < n; ++t)
      put_row(f.k + ((begin + t) * z.G + g) * z.K, z.K, page + (g * kKeyTile + slot + t) * z.K);
    return;
  }
  put_keys(f.k + (begin * z.G + g) * z.K, z.G * z.K, n, z.K, page + g * z.K * kKeyTile + slot);
  E* values = page + f.values_at + (g * kKeyTile + slot) * z.V;
  const float* v = f.v + (begin * z.G + g) * z.V;
  for (int64_t t = 0; t < n; ++t) put_row(v + t * z.G * z.V, z.V, values + t * z.V);
}

void write_pages_kernel(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end) {
  const auto write = f.pages == DType::bf16 ? write_rows_of<uint16_t>
                     : f.pages == DType::q8 ? write_q8
                                            : write_rows_of<float>;
  for (int64_t position = f.positions[begin]; begin < end;) {
    const int64_t slot = position % kKeyTile;
    const int64_t n = end - begin < kKeyTile - slot ? end - begin : kKeyTile - slot;
    write(f, f.page_table[s * f.max_pages + position / kKeyTile], slot, g, begin, n);
    begin += n;
    position += n;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::attention_detail {
HWY_EXPORT(write_pages_kernel);
void write_pages(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(write_pages_kernel)(f, s, g, begin, end);
}
}  // namespace r1::attention_detail
#endif
