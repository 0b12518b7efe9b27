// ops/matmul/quant_ref.cc: the contract of quant.h, written out.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/matmul/quant.h"
#include "tensor/blocks.h"

namespace r1::ref {
namespace {

struct QuantisedBlock {
  float d = 0;
  int32_t q[256] = {};
};

QuantisedBlock quantise_block(const float* x, int64_t count) {
  QuantisedBlock out;
  float amax = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    amax = std::max(amax, std::fabs(x[i]));
  }
  if (!finite) {
    out.d = std::numeric_limits<float>::quiet_NaN();
    return out;
  }
  if (amax < 0x1p-119f) return out;
  out.d = amax / 127.0f;
  const float inverse = 127.0f / amax;
  for (int64_t i = 0; i < count; ++i) out.q[i] = static_cast<int32_t>(std::nearbyintf(x[i] * inverse));
  return out;
}

}  // namespace

void quant_matmul(Format format, const std::byte* w, const float* x, const float* bias, int64_t M, int64_t N,
                  int64_t K, float* y) {
  const int64_t elements = row_of(format).elements, bytes = row_of(format).bytes, blocks = K / elements;
  const int64_t sub = sub_block(format);
  std::vector<QuantisedBlock> rows(static_cast<size_t>(M * blocks));
  for (int64_t i = 0; i < M * blocks; ++i)
    rows[static_cast<size_t>(i)] = quantise_block(x + i * elements, elements);
  BlockNumbers numbers;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t m = 0; m < M; ++m) {
      float acc = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        read_block(format, w + (n * blocks + b) * bytes, numbers);
        const QuantisedBlock& block = rows[static_cast<size_t>(m * blocks + b)];
        int64_t isum = 0, msum = 0;
        for (int64_t i = 0; i < elements; ++i) {
          isum += int64_t{numbers.scale[i / sub]} * numbers.q[i] * block.q[i];
          msum += int64_t{numbers.least[i / sub]} * block.q[i];
        }
        const float scale = numbers.d * block.d;
        acc = std::fma(scale, static_cast<float>(isum), acc);
        if (!has_minimum(format)) continue;
        const float least = numbers.dmin * block.d;
        acc = std::fma(-least, static_cast<float>(msum), acc);
      }
      y[m * N + n] = bias != nullptr ? acc + bias[n] : acc;
    }
}

}  // namespace r1::ref
