// ops/sample/sample_cpu.cc: filters and the draw, by passes over the tempered logits.
//
// A filter is a cut in the descending order: a key (the logit's bits, made monotone) and how many of the
// tokens that have exactly this key stay (the lowest indices). Dropped tokens become -infinity, so the next
// pass gives them weight exp(-infinity) = 0. Weights are never stored: a block's exps are cheaper than a
// second buffer.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/loss/loss.h"
#include "ops/sample/sample.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sample/sample_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e[i] = exp(z[i] - max); returns their sum.
double block_weights(const float* z, int64_t n, float max, float* e) {
  map1(z, e, n, [max](auto d, auto v) R1_LAMBDA { return exp_vector(d, hn::Sub(v, hn::Set(d, max))); });
  return sum_in_double<false>(e, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(block_weights);

namespace {

constexpr int64_t kBlock = 256;
constexpr int kDigits = 4;  // of eight bits, the highest first
constexpr float kDropped = -std::numeric_limits<float>::infinity();

struct Row {
  float* z;
  int64_t V;
  float max;
};

// Calls body(first index, count, weights, their sum) for every block in order until it returns false.
template <class Body>
void for_each_block(const Row& row, const Body& body) {
  float e[kBlock];
  for (int64_t first = 0; first < row.V; first += kBlock) {
    const int64_t n = std::min(kBlock, row.V - first);
    const double sum = HWY_DYNAMIC_DISPATCH(block_weights)(row.z + first, n, row.max, e);
    if (!body(first, n, e, sum)) return;
  }
}

// Orders as the floats do; -0 and +0 are one key.
uint32_t key_of(float z) {
  const uint32_t bits = std::bit_cast<uint32_t>(z + 0.0f);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// Tokens above `key` stay, and the first `ties` of those at it.
struct Cut {
  uint32_t key = 0;
  int64_t ties = 0;
};

void apply(const Row& row, const Cut& cut) {
  int64_t ties = cut.ties;
  for (int64_t n = 0; n < row.V; ++n) {
    const uint32_t key = key_of(row.z[n]);
    if (key < cut.key || (key == cut.key && ties-- <= 0)) row.z[n] = kDropped;
  }
}

bool matches(uint32_t key, uint32_t prefix, int digit) {
  return digit == 0 || key >> (32 - 8 * digit) == prefix >> (32 - 8 * digit);
}

Cut top_k_cut(const Row& row, int64_t k) {
  Cut cut{0, k};
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = 24 - 8 * digit;
    int64_t counts[256] = {};
    for (int64_t n = 0; n < row.V; ++n) {
      const uint32_t key = key_of(row.z[n]);
      if (matches(key, cut.key, digit)) ++counts[key >> shift & 255];
    }
    uint32_t bin = 255;
    while (bin > 0 && counts[bin] < cut.ties) cut.ties -= counts[bin--];
    cut.key |= bin << shift;
  }
  return cut;
}

double total_weight(const Row& row) {
  double total = 0;
  for_each_block(row, [&](int64_t, int64_t, const float*, double sum) {
    total += sum;
    return true;
  });
  return total;
}

// The bin, from the top, in which the running sum reaches `target`; `below` grows by what lies above the bin.
// Rounding may leave the target just out of reach: then the last bin that weighs anything.
uint32_t reaching_bin(const double (&mass)[256], double target, double* below) {
  uint32_t last = 0;
  double before_last = *below, sum = *below;
  for (uint32_t bin = 256; bin-- > 0;) {
    if (mass[bin] <= 0) continue;
    last = bin;
    before_last = sum;
    sum += mass[bin];
    if (sum >= target) break;
  }
  *below = before_last;
  return last;
}

Cut top_p_cut(const Row& row, float top_p) {
  const double target = static_cast<double>(top_p) * total_weight(row);
  Cut cut;
  double above = 0;  // weight of all tokens above the prefix
  int64_t ties = 0;
  double weight = 0;  // of one token with the final key
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = 24 - 8 * digit;
    double mass[256] = {};
    int64_t counts[256] = {};
    for_each_block(row, [&](int64_t first, int64_t n, const float* e, double) {
      for (int64_t i = 0; i < n; ++i) {
        const uint32_t key = key_of(row.z[first + i]);
        if (!matches(key, cut.key, digit)) continue;
        mass[key >> shift & 255] += e[i];
        ++counts[key >> shift & 255];
      }
      return true;
    });
    const uint32_t bin = reaching_bin(mass, target, &above);
    cut.key |= bin << shift;
    ties = counts[bin];
    weight = mass[bin] / static_cast<double>(std::max<int64_t>(1, ties));
  }
  cut.ties = 1;
  if (weight > 0 && target > above) {
    cut.ties = std::clamp<int64_t>(static_cast<int64_t>(std::ceil((target - above) / weight)), 1, ties);
  }
  return cut;
}

// p >= min_p * max p is exp(z - max) >= min_p: the weight of the maximum is exactly 1.
void apply_min_p(const Row& row, float min_p) {
  const float least = std::min(min_p, 1.0f);
  for_each_block(row, [&](int64_t first, int64_t n, const float* e, double) {
    for (int64_t i = 0; i < n; ++i) {
      if (!(e[i] >= least)) row.z[first + i] = kDropped;
    }
    return true;
  });
}

int64_t draw(const Row& row, float uniform) {
  const double threshold = static_cast<double>(uniform) * total_weight(row);
  double sum = 0;
  int64_t chosen = -1;
  for_each_block(row, [&](int64_t first, int64_t n, const float* e, double block) {
    if (block <= 0 || sum + block <= threshold) {
      sum += block;
      return true;
    }
    for (int64_t i = 0; i < n; ++i) {
      if (e[i] <= 0) continue;
      chosen = first + i;  // the last one, should the block's own order round below its total
      sum += e[i];
      if (sum > threshold) break;
    }
    return false;
  });
  return chosen;
}

}  // namespace

Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform) {
  R1_CHECK(V >= 1 && params.temperature >= 0 && uniform >= 0 && uniform < 1, "V ", V, ", temperature ",
           params.temperature, ", uniform ", uniform);
  const bool greedy = params.temperature == 0;
  const RowSoftmax softmax = row_softmax(logits, V, greedy ? 1.0f : 1.0f / params.temperature);
  if (!std::isfinite(softmax.sum)) return {-1, std::numeric_limits<float>::quiet_NaN()};
  const Row row{logits, V, softmax.max};
  int64_t chosen = 0;
  if (greedy) {
    while (logits[chosen] != softmax.max) ++chosen;
  } else {
    if (params.top_k > 0 && params.top_k < V) apply(row, top_k_cut(row, params.top_k));
    if (params.top_p < 1) apply(row, top_p_cut(row, params.top_p));
    if (params.min_p > 0) apply_min_p(row, params.min_p);
    chosen = draw(row, uniform);
    R1_CHECK(chosen >= 0, "no token left to draw from");
  }
  return {static_cast<int32_t>(chosen), row_log_prob(softmax, logits, chosen)};
}

}  // namespace r1
#endif
