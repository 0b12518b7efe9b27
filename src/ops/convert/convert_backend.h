// ops/convert/convert_backend.h: what convert.cc asks of a backend. Private to this folder.
#pragma once

#include <cstdint>

#include "tensor/context.h"

namespace r1 {

struct Widen {
  const uint16_t* from = nullptr;
  int64_t n = 0;
  float* to = nullptr;
};

struct Narrow {
  const float* from = nullptr;
  int64_t n = 0;
  uint16_t* to = nullptr;
};

// Rounds to bf16 values that stay f32. `to` may be `from`.
struct RoundToBf16 {
  const float* from = nullptr;
  int64_t n = 0;
  float* to = nullptr;
};

namespace cpu {
void widen_values(Context& ctx, const Widen& call);
void narrow_values(Context& ctx, const Narrow& call);
void round_values(Context& ctx, const RoundToBf16& call);
}  // namespace cpu

namespace cuda {
void widen_values(Context& ctx, const Widen& call);
void narrow_values(Context& ctx, const Narrow& call);
void round_values(Context& ctx, const RoundToBf16& call);
}  // namespace cuda

}  // namespace r1
