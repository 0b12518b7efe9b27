// ops/attention/tensor_attention_sm90.h: the forward of attention for many rows by wgmma on Hopper GPUs (sm_90a), with the bits of
// tensor_attention_cuda.h. Private to this folder.
//
// Keys and values are those of the batch itself: every row begins at position 0 or behind its parent. Pages are
// neither read nor written.
#pragma once

#include "ops/attention/attention_backend.h"

namespace r1::cuda {

// True if this GPU has wgmma, this build has code for it, and the kernel takes these operands: many rows, with heads of at most
// kTensorWidth in whole vectors, aligned to 16 bytes.
bool wgmma_attends(const AttentionForward& call);
void wgmma_attention(Context& ctx, const AttentionForward& call);

}  // namespace r1::cuda
