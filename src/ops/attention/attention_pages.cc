// ops/attention/attention_pages.cc: puts new keys (transposed) and values into their page.
#include "ops/attention/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_pages.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/attention/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;

void write_pages_kernel(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end) {
  const auto& z = f.size;
  int64_t position = f.positions[begin];
  while (begin < end) {
    const int64_t slot = position % kKeyTile;
    const int64_t n = end - begin < kKeyTile - slot ? end - begin : kKeyTile - slot;
    float* page = f.page_data + f.page_table[s * f.max_pages + position / kKeyTile] * f.page_floats;
    transpose_rows(f.k + (begin * z.G + g) * z.K, z.G * z.K, n, z.K, page + g * z.K * kKeyTile + slot);
    float* values = page + f.values_at + (g * kKeyTile + slot) * z.V;
    const float* v = f.v + (begin * z.G + g) * z.V;
    for (int64_t t = 0; t < n; ++t) copy_row(v + t * z.G * z.V, z.V, values + t * z.V);
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
