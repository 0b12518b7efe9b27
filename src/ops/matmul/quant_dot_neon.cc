// ops/matmul/quant_dot_neon.cc: SDOT over four outputs.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

// From here on, functions are compiled for NEON dot. No header follows that has functions of others.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_neon {

#include "ops/matmul/quant_lanes128-inl.h"

struct V : Lanes128 {
  static constexpr int kScaledRows = 6, kPlainRows = 8;
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_neon

void quant_dot::neon_dot(const QuantTile& tile) {
  quant_neon::run_any<quant_neon::V>(tile);
}

}  // namespace r1

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace r1 {

void quant_dot::neon_dot(const QuantTile&) {
  R1_CHECK(false, "this build has no NEON dot kernels");
}

}  // namespace r1
#endif
