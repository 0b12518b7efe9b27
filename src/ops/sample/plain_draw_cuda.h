// ops/sample/plain_draw_cuda.h: draws from rows of many logits that no filter, mask or history changes, on a CUDA
// device, with the bits of sample_cuda.cu. Private to this folder.
#pragma once

#include "ops/sample/sample_backend.h"

namespace r1::cuda {

inline constexpr int32_t kNoneLeft = -3;  // a draw without a token: a broken invariant

// True if draw_plainly() is made for these rows. `measuring`: rows have no settings.
bool draws_plainly(const SampleRows& call, bool measuring);
// Logits stay as they are.
void draw_plainly(Context& ctx, const SampleRows& call);

}  // namespace r1::cuda
