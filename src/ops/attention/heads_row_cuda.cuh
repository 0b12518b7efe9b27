// ops/attention/heads_row_cuda.cuh: rope of one head by a half-warp, for the kernels of decoding that place heads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/attention/attention.h"
#include "ops/rope/rope_cuda.h"
#include "ops/simd/lanes_cuda.cuh"

namespace r1::cuda {

// The first `still` of a head's K numbers are not turned.
struct HeadTurn {
  int K, still;
  bool interleaved;
  const float* table;  // on the device (ops/rope/rope_cuda.h)
};

// Sends what the rotary table lacks.
HeadTurn head_turn(Context& ctx, int64_t K, const Rotary& rotary);

// Turns the staged head, as ops/rope/rope_cuda.cu does: put(i, value) for every i.
template <class Put>
__device__ void turn_head(const HeadTurn& f, int position, const float* staged, const Put& put) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes, pairs = (f.K - f.still) / 2;
  for (int i = lane; i < f.still; i += kLanes) put(i, staged[i]);
  const float* cosines = f.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) *
                                       static_cast<int64_t>(pairs);
  for (int pair = lane; pair < pairs; pair += kLanes) {
    const float c = cosines[pair], s = cosines[kRopeBlock * pairs + pair];
    const int first = f.still + (f.interleaved ? 2 * pair : pair),
              second = first + (f.interleaved ? 1 : pairs);
    const float x0 = staged[first], x1 = staged[second];
    put(first, __fmaf_rn(x0, c, -__fmul_rn(x1, s)));
    put(second, __fmaf_rn(x1, c, __fmul_rn(x0, s)));
  }
}

}  // namespace r1::cuda
