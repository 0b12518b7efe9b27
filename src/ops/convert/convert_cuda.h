// ops/convert/convert_cuda.h: conversions of a CUDA device's memory, for kernels of other ops.
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws
// Error if a launch is refused.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1::cuda {

void narrow_f32(const float* from, int64_t n, uint16_t* to, void* stream);
struct NarrowTensor {
  const float* from;
  int64_t n;
  uint16_t* to;
};
// Rounds all tensors in one launch, whose list is sent to the device. Call it inside an OpScope.
void narrow_tensors(Context& ctx, std::span<const NarrowTensor> tensors);
// Rounds to bf16 values that stay f32. `to` may be `from`.
void round_f32(const float* from, int64_t n, float* to, void* stream);

}  // namespace r1::cuda
