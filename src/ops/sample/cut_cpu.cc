// ops/sample/cut_cpu.cc: top-k and top-p without sorting the row and without memory beyond the stack.
//
// One pass puts the tokens into 1024 bins by their distance from the maximum (1/32 of a unit of logit each)
// and sums counts and weights. The bin in which the wanted count or weight is reached holds the cut. It is
// usually small, and its tokens are sorted on the stack. If not (rows of equal logits), the cut is found
// digit by digit over the bits of the floats. Bins are monotone in the logit, so the order is that of a sort.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "ops/sample/cut.h"
#include "ops/simd/exp.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sample/cut_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

double block_weights(const float* z, int64_t n, float max, float* e) {
  map1(z, e, n, [max](auto d, auto v) R1_LAMBDA { return exp_vector(d, hn::Sub(v, hn::Set(d, max))); });
  return sum_in_double<false>(e, n);
}

// Whole numbers in [0, 1023], 0 at the maximum.
void block_bins(const float* z, int64_t n, float max, float* bins) {
  map1(z, bins, n, [max](auto d, auto v) R1_LAMBDA {
    const auto distance = hn::Mul(hn::Sub(hn::Set(d, max), v), hn::Set(d, 32.0f));
    return hn::Floor(hn::Min(distance, hn::Set(d, 1023.0f)));
  });
}

void drop_below(float* z, int64_t n, float least) {
  const float dropped = -std::numeric_limits<float>::infinity();
  map1(z, z, n, [least, dropped](auto d, auto v) R1_LAMBDA {
    return hn::IfThenElse(hn::Lt(v, hn::Set(d, least)), hn::Set(d, dropped), v);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(block_weights);
HWY_EXPORT(block_bins);
HWY_EXPORT(drop_below);

namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();
constexpr int64_t kCandidates = 2048;  // 16 KiB of stack

// Keeps tokens above `z`, and the first `keep` of the `have` tokens that are equal to it.
struct Cut {
  float z = 0;
  int64_t keep = 0, have = 0;
};

void apply(const SampleRow& row, Cut cut) {
  HWY_DYNAMIC_DISPATCH(drop_below)(row.z, row.V, cut.z);
  if (cut.keep >= cut.have) return;
  for (int64_t n = 0; n < row.V; ++n) {
    if (row.z[n] == cut.z && cut.keep-- <= 0) row.z[n] = kDropped;
  }
}

// The quantity that the search sums: 1 per token, or the tokens' weights.
enum class By { count, weight };

// Sums and counts of classes of tokens.
template <uint32_t kBins>
struct Histogram {
  double sum[kBins] = {};
  int32_t count[kBins] = {};

  void add(uint32_t bin, double amount) {
    sum[bin] += amount;
    ++count[bin];
  }
  // Returns the bin, in the order given by `bin_at`, in which `above` plus the running sum reaches the
  // target, and adds to `above` what lies before it. If rounding leaves the target just out of reach, returns
  // the last bin with a positive sum.
  template <class BinAt>
  uint32_t reach(double target, double* above, const BinAt& bin_at) const {
    uint32_t found = bin_at(0);
    double sum_so_far = *above;
    for (uint32_t i = 0; i < kBins; ++i) {
      const uint32_t bin = bin_at(i);
      if (sum[bin] <= 0) continue;
      found = bin;
      *above = sum_so_far;
      sum_so_far += sum[bin];
      if (sum_so_far >= target) break;
    }
    return found;
  }
};

// Calls body(index, z, bin, weight or 1) in index order. Returns the sum of all weights (0 for By::count).
template <class Body>
double for_each_token(const SampleRow& row, By by, const Body& body) {
  float e[kSampleBlock], bins[kSampleBlock];
  std::fill(e, e + kSampleBlock, 1.0f);
  double total = 0;
  for (int64_t first = 0; first < row.V; first += kSampleBlock) {
    const int64_t n = std::min(kSampleBlock, row.V - first);
    if (by == By::weight) total += sample_block_weights(row, first, n, e);
    HWY_DYNAMIC_DISPATCH(block_bins)(row.z + first, n, row.max, bins);
    for (int64_t i = 0; i < n; ++i) {
      body(first + i, row.z[first + i], static_cast<uint32_t>(static_cast<int32_t>(bins[i])), e[i]);
    }
  }
  return total;
}

struct Candidate {
  float z;
  int32_t index;
};

Cut cut_by_sorting(const SampleRow& row, By by, uint32_t bin, double target, double above) {
  Candidate list[kCandidates];
  int64_t n = 0;
  for_each_token(row, By::count, [&](int64_t index, float z, uint32_t b, float) {
    if (b == bin) list[n++] = {z, static_cast<int32_t>(index)};
  });
  std::sort(list, list + n, [](const Candidate& a, const Candidate& b) {
    return a.z > b.z || (a.z == b.z && a.index < b.index);
  });
  int64_t last = 0;
  for (; last < n - 1; ++last) {
    above += by == By::weight ? exp_f32(list[last].z - row.max) : 1.0f;
    if (above >= target) break;
  }
  Cut cut{list[last].z, 0, 0};
  for (int64_t i = 0; i < n; ++i) {
    if (list[i].z != cut.z) continue;
    ++cut.have;
    if (i <= last) ++cut.keep;
  }
  return cut;
}

// A key with the order of the floats; -0 and +0 have one key.
uint32_t key_of(float z) {
  const uint32_t bits = std::bit_cast<uint32_t>(z + 0.0f);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
float float_of(uint32_t key) {
  return std::bit_cast<float>(key >> 31 != 0 ? key & 0x7fffffffu : ~key);
}

Cut cut_by_digits(const SampleRow& row, By by, uint32_t bin, double target, double above) {
  uint32_t prefix = 0;
  int32_t have = 0;
  double each = 1;
  for (int shift = 24; shift >= 0; shift -= 8) {
    Histogram<256> digits;
    for_each_token(row, by, [&](int64_t, float z, uint32_t b, float amount) {
      const uint32_t key = key_of(z);
      if (b == bin && (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8))) {
        digits.add(key >> shift & 255, amount);
      }
    });
    const uint32_t digit = digits.reach(target, &above, [](uint32_t i) { return 255 - i; });
    prefix |= digit << shift;
    have = digits.count[digit];
    each = digits.sum[digit] / have;
  }
  const double wanted = std::ceil((target - above) / each);
  return {float_of(prefix), static_cast<int64_t>(std::clamp<double>(wanted, 1, have)), have};
}

// `share` is a fraction of the total weight for By::weight, otherwise a count.
Cut find_cut(const SampleRow& row, By by, double share) {
  Histogram<1024> bins;
  const double total =
      for_each_token(row, by, [&](int64_t, float, uint32_t bin, float amount) { bins.add(bin, amount); });
  const double target = by == By::weight ? share * total : share;
  double above = 0;
  const uint32_t bin = bins.reach(target, &above, [](uint32_t i) { return i; });
  return bins.count[bin] <= kCandidates ? cut_by_sorting(row, by, bin, target, above)
                                        : cut_by_digits(row, by, bin, target, above);
}

}  // namespace

double sample_block_weights(const SampleRow& row, int64_t first, int64_t n, float* e) {
  return HWY_DYNAMIC_DISPATCH(block_weights)(row.z + first, n, row.max, e);
}

void keep_top_k(const SampleRow& row, int64_t k) {
  apply(row, find_cut(row, By::count, static_cast<double>(k)));
}

void keep_top_p(const SampleRow& row, float top_p) {
  apply(row, find_cut(row, By::weight, static_cast<double>(top_p)));
}

void keep_min_p(const SampleRow& row, float min_p) {
  const float least = std::min(min_p, 1.0f);
  float e[kSampleBlock];
  for (int64_t first = 0; first < row.V; first += kSampleBlock) {
    const int64_t n = std::min(kSampleBlock, row.V - first);
    sample_block_weights(row, first, n, e);
    for (int64_t i = 0; i < n; ++i) {
      if (!(e[i] >= least)) row.z[first + i] = kDropped;
    }
  }
}

}  // namespace r1
#endif
