// ops/loss/row_softmax.cc: the softmax of one row of logits: the one function behind every log-prob, the
// trainer's and the sampler's.
#include "base/math.h"
#include "ops/loss/loss.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/loss/row_softmax.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scales z and fills max and sum. Any NaN makes the sum NaN, whatever the maximum is.
void scale_max_sum(float* z, int64_t V, float inv_temperature, RowSoftmax* row) {
  if (inv_temperature != 1.0f) {
    map1(z, z, V,
         [inv_temperature](auto d, auto v) R1_LAMBDA { return hn::Mul(v, hn::Set(d, inv_temperature)); });
  }
  const Lanes16 highest = fold(Lanes16::set(-std::numeric_limits<float>::infinity()), z, V,
                               [](auto, auto lane, auto v) R1_LAMBDA { return hn::Max(lane, v); });
  const float max = tree_max(highest) + 0.0f;  // +0 even if the maximum is -0: instruction sets differ there
  const Lanes16 sums = fold(Lanes16::set(0.0f), z, V, [max](auto d, auto lane, auto v) R1_LAMBDA {
    return hn::Add(lane, exp_vector(d, hn::Sub(v, hn::Set(d, max))));
  });
  row->max = max;
  row->sum = tree_sum(sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(scale_max_sum);

RowSoftmax row_softmax(float* z, int64_t V, float inv_temperature) {
  RowSoftmax row;
  HWY_DYNAMIC_DISPATCH(scale_max_sum)(z, V, inv_temperature, &row);
  row.log_sum = static_cast<float>(exact_log(static_cast<double>(row.sum)));
  return row;
}

}  // namespace r1
#endif
