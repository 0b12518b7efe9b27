// ops/attention/tensor_decode_cuda.h: decoding steps of cuda-bf16, in the order of sums of tensor_attention_cuda.h.
// Private to this folder.
#pragma once

#include "ops/attention/decode_cuda.h"

namespace r1::cuda {

// Rows of one token each: norms and turns the heads of q and k, writes keys and values into the pages, and attends.
struct TensorDecode {
  const KvPages& pages;
  Tensor q, k, v, out;                                   // [S, H, K], [S, G, K], [S, G, V], [S, H, V]
  const Parameter *q_norm = nullptr, *k_norm = nullptr;  // [K]; both or none
  float eps = 0;
  const Rotary* rotary = nullptr;  // null: q and k are turned already
  float scale = 1;
};

// True if tensor_decode() has a kernel for these pages.
bool has_tensor_decode(const KvPages& pages);
// A row at position -1 is not there: it reads and writes no page, and its output is 0.
void tensor_decode(Context& ctx, const TensorDecode& call, const DecodeLists& lists);

}  // namespace r1::cuda
