#include "ops/simd/targets.h"

#include "hwy/highway.h"

namespace r1 {
namespace {

void disable(int64_t targets) {
  hwy::DisableTargets(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace

std::vector<SimdTarget> simd_targets() {
  std::vector<SimdTarget> list;
  const int64_t compiled = HWY_TARGETS, supported = hwy::SupportedTargets();
  for (int i = 0; i < 62; ++i) {  // a better target is a lower bit
    const int64_t bit = int64_t{1} << i;
    // Highway calls AVX-512 AVX3.
    if ((compiled & bit) != 0)
      list.push_back({bit == HWY_AVX3 ? "AVX-512" : hwy::TargetName(bit), bit, (supported & bit) != 0});
  }
  return list;
}

std::string chosen_simd_target() {
  for (const SimdTarget& target : simd_targets()) {
    if (target.usable) return target.name;
  }
  return "none";
}

std::string highway_version() {
  return std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." + std::to_string(HWY_PATCH);
}

WithSimdTarget::WithSimdTarget(const SimdTarget& target) {
  disable(~target.bit);
}

WithSimdTarget::~WithSimdTarget() {
  disable(0);
}

}  // namespace r1
