// ops/matmul/quant_rows_cpu.cc: quantises activations (quant.h).
#include <cstring>
#include <limits>

#include "base/integers.h"
#include "ops/matmul/quant_unpack.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul/quant_rows_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

// One block of `count` elements (32 or 256) -> q, d, and the sums of q over each `sub` elements.
void quantise_block(const float* HWY_RESTRICT x, int64_t count, int64_t sub, int8_t* HWY_RESTRICT q,
                    float* HWY_RESTRICT d, int32_t* HWY_RESTRICT sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<int8_t, decltype(df)> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  // The bits of |x| are ordered as the numbers, with infinity and NaN above all.
  auto most = hn::Zero(di);
  const auto magnitude = hn::Set(di, 0x7FFFFFFF);
  for (int64_t i = 0; i < count; i += lanes)
    most = hn::Max(most, hn::And(hn::BitCast(di, hn::LoadU(df, x + i)), magnitude));
  const int32_t bits = hn::GetLane(hn::MaxOfLanes(di, most));
  float amax;
  std::memcpy(&amax, &bits, sizeof(amax));
  const int64_t subs = count / sub;
  if (bits >= 0x7F800000 || amax < 0x1p-119f) {
    *d = bits >= 0x7F800000 ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
    std::memset(q, 0, static_cast<size_t>(count));
    std::memset(sums, 0, static_cast<size_t>(subs) * sizeof(int32_t));
    return;
  }
  *d = amax / 127.0f;
  const auto inverse = hn::Set(df, 127.0f / amax);
  for (int64_t s = 0; s < subs; ++s) {
    auto sum = hn::Zero(di);
    for (int64_t i = s * sub; i < (s + 1) * sub; i += lanes) {
      const auto v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), inverse));
      sum = hn::Add(sum, v);
      hn::StoreU(hn::DemoteTo(d8, v), d8, q + i);
    }
    sums[s] = hn::GetLane(hn::SumOfLanes(di, sum));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace r1 {

HWY_EXPORT(quantise_block);

QuantRowLayout::QuantRowLayout(Format format, int64_t K) {
  const QuantTraits& t = quant_traits(format);
  constexpr int64_t kWord = 4;
  d = K;
  start = d + K / t.block * kWord;
  sums = start + K / t.sub * kWord;
  bytes = sums + (t.minimum ? (t.scaled ? K / t.sub / 2 : K / t.block) * kWord : 0);
  bytes = ceil_div(bytes, int64_t{64}) * 64;
}

void quantise_rows(Format format, const float* x, int64_t M, int64_t K, std::byte* rows) {
  const QuantTraits& t = quant_traits(format);
  const QuantRowLayout layout(format, K);
  const int64_t subs = t.block / t.sub;
  for (int64_t m = 0; m < M; ++m, x += K, rows += layout.bytes) {
    auto* const d = reinterpret_cast<float*>(rows + layout.d);
    auto* const start = reinterpret_cast<int32_t*>(rows + layout.start);
    std::byte* const out = rows + layout.sums;
    for (int64_t b = 0; b < K / t.block; ++b) {
      int32_t sums[16];
      HWY_DYNAMIC_DISPATCH(quantise_block)
      (x + b * t.block, t.block, t.sub, reinterpret_cast<int8_t*>(rows) + b * t.block, d + b, sums);
      for (int64_t j = 0; j < subs; ++j) start[b * subs + j] = -t.offset * sums[j];
      if (!t.minimum) continue;
      if (!t.scaled) {
        const auto sum = static_cast<float>(sums[0]);
        std::memcpy(out + b * 4, &sum, 4);
        continue;
      }
      for (int64_t j = 0; j < subs; j += 2) {
        const auto low = static_cast<uint32_t>(sums[j]) & 0xFFFFu, high = static_cast<uint32_t>(sums[j + 1])
                                                                          << 16;
        const uint32_t pair = low | high;
        std::memcpy(out + (b * subs + j) * 2, &pair, 4);
      }
    }
  }
}

}  // namespace r1
#endif  // HWY_ONCE
