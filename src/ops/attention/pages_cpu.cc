// ops/attention/pages_cpu.cc: writes new keys and values into their pages.
#include <cstring>

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

template <class E>
void write_pages_of(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end) {
  const auto& z = f.size;
  int64_t position = f.positions[begin];
  while (begin < end) {
    const int64_t slot = position % kKeyTile;
    const int64_t n = end - begin < kKeyTile - slot ? end - begin : kKeyTile - slot;
    const int64_t index = f.page_table[s * f.max_pages + position / kKeyTile];
    E* page = static_cast<E*>(f.element(index * f.page_elements));
    if (f.values_in_keys) {
      for (int64_t t = 0; t < n; ++t)
        put_row(f.k + ((begin + t) * z.G + g) * z.K, z.K, page + (g * kKeyTile + slot + t) * z.K);
      begin += n;
      position += n;
      continue;
    }
    put_keys(f.k + (begin * z.G + g) * z.K, z.G * z.K, n, z.K, page + g * z.K * kKeyTile + slot);
    E* values = page + f.values_at + (g * kKeyTile + slot) * z.V;
    const float* v = f.v + (begin * z.G + g) * z.V;
    for (int64_t t = 0; t < n; ++t) put_row(v + t * z.G * z.V, z.V, values + t * z.V);
    begin += n;
    position += n;
  }
}

void write_pages_kernel(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end) {
  if (f.bf16_pages) {
    write_pages_of<uint16_t>(f, s, g, begin, end);
  } else {
    write_pages_of<float>(f, s, g, begin, end);
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
