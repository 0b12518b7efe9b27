// ops/simd/targets.h: the instruction sets that the kernels are compiled for, and which one is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace r1 {

struct SimdTarget {
  std::string name;     // "AVX-512", "AVX2", "NEON"
  int64_t bit = 0;      // Highway's bit for it
  bool usable = false;  // this machine has it
};
std::vector<SimdTarget> simd_targets();  // best first
std::string chosen_simd_target();
std::string highway_version();

// While it is alive, kernels run on this target. For checks only: no other thread may compute meanwhile.
class WithSimdTarget {
 public:
  explicit WithSimdTarget(const SimdTarget& target);
  ~WithSimdTarget();
  WithSimdTarget(const WithSimdTarget&) = delete;
  WithSimdTarget& operator=(const WithSimdTarget&) = delete;
};

}  // namespace r1
