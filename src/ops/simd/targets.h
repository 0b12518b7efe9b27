// ops/simd/targets.h: the instruction sets that the kernels were compiled for, and which one is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace r1 {

struct SimdTarget {
  std::string name;     // "AVX-512", "AVX2", "NEON"
  int64_t bit = 0;      // Highway's
  bool usable = false;  // by this machine
};
std::vector<SimdTarget> simd_targets();  // best first
std::string chosen_simd_target();
std::string highway_version();

// While alive, kernels run on this target. For checks: not while other threads compute.
class WithSimdTarget {
 public:
  explicit WithSimdTarget(const SimdTarget& target);
  ~WithSimdTarget();
  WithSimdTarget(const WithSimdTarget&) = delete;
  WithSimdTarget& operator=(const WithSimdTarget&) = delete;
};

}  // namespace r1
