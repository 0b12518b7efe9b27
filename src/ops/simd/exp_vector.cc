#include "ops/simd/exp_vector.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/simd/exp_vector.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
void exp_array_kernel(const float* x, int64_t n, float* y) {
  map1(x, y, n, [](auto d, auto v) R1_LAMBDA { return exp_vector(d, v); });
}
}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {
HWY_EXPORT(exp_array_kernel);
void exp_array(const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(exp_array_kernel)(x, n, y);
}
}  // namespace r1
#endif
