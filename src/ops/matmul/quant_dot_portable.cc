// ops/matmul/quant_dot_portable.cc: plain C++, for machines without dot products.
#include <cmath>
#include <cstring>

#include "ops/matmul/quant_dot.h"

#define R1_QUANT_INLINE inline
#define R1_QUANT_UNROLL

namespace r1 {
namespace quant_portable {

struct V {
  static constexpr int kLanes = 16, kScaledRows = 2, kPlainRows = 2;
  static constexpr bool kFlips = false;
  struct Int {
    int32_t lane[kLanes];
  };
  struct Float {
    float lane[kLanes];
  };
  template <class To, class F>
  static To each(const F& f) {
    To out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = f(i);
    return out;
  }
  static Int zero() { return {}; }
  static Int int_at(const int32_t* p) {
    return each<Int>([&](int i) { return p[i]; });
  }
  static Float float_at(const float* p) {
    return each<Float>([&](int i) { return p[i]; });
  }
  static void store(float* p, const Float& v) { std::memcpy(p, v.lane, sizeof(v.lane)); }
  static Int all_int(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return each<Int>([&](int) { return word; });
  }
  static Float all_float(const void* p) {
    float word;
    std::memcpy(&word, p, sizeof(word));
    return each<Float>([&](int) { return word; });
  }
  template <int kBits, int kGroups, int kRows>
  static void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    for (int g = 0; g < kGroups; ++g)
      for (int r = 0; r < kRows; ++r)
        for (int i = 0; i < kLanes; ++i)
          for (int k = 0; k < 4; ++k) sum[r].lane[i] += u[64 * g + 4 * i + k] * q[r * row + 4 * g + k];
  }
  static Int pairs(const Int& sum, const Int& a, const Int& b) {
    return each<Int>([&](int i) {
      int16_t x[2], y[2];
      std::memcpy(x, &a.lane[i], sizeof(x));
      std::memcpy(y, &b.lane[i], sizeof(y));
      return sum.lane[i] + x[0] * y[0] + x[1] * y[1];
    });
  }
  static Int times(const Int& a, const Int& b) {
    return each<Int>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Int add(const Int& a, const Int& b) {
    return each<Int>([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Float number(const Int& a) {
    return each<Float>([&](int i) { return static_cast<float>(a.lane[i]); });
  }
  static Float mul(const Float& a, const Float& b) {
    return each<Float>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Float fma(const Float& a, const Float& b, const Float& c) {
    return each<Float>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static Float minus_fma(const Float& a, const Float& b, const Float& c) {
    return each<Float>([&](int i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
  }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_portable

void quant_dot::portable(const QuantTile& tile) {
  quant_portable::run_any<quant_portable::V>(tile);
}

}  // namespace r1
