// ops/attention/tensor_attention_cuda.h: attention of cuda-bf16 on tensor cores, in one order of sums. Private to
// this folder.
//
// It is the order of cuda-bf16 for pages that hold keys and values apart, with K and V of at most 128; latents have
// one that differs little (below), and all other shapes are summed as in attention.h. Keys are cut at positions alone: blocks of 64 and parts of 256, both from
// position 0. For a row (one head of a token at position p), with c = scale * log2(e) rounded to f32:
//
//   for every part that has a key <= p:
//     m = -inf;  l = 0, in four lanes;  O = 0
//     for every block of the part that has a key <= p, in order:
//       s_j = q . k_j by mma over K in steps of 16;  -inf if j > p
//       m' = max(m, max over j of s_j);  a = 2^((m - m') c)
//       e_j = 2^(s_j c - m' c)
//       l[t] = l[t] a, then + e_j with j in order, t = (j % 8) / 2
//       O = O a, then mma with bf16(e_j) and v_j over the block's keys in steps of 16
//       m = m'
//     l = (l[0] + l[1]) + (l[2] + l[3])
//   the first part's M = m, L = l, S = O; then for every further part in order:
//     M' = max(M, m);  A = 2^((M - M') c);  B = 2^((m - M') c)
//     L = fma(l, B, L A);  S = fma(O, B, S A);  M = M'
//   o = fma(S, 1 / L, +0), rounded once
//
// s_j c - m' c is fma(s_j, c, -(m' c)); 2^ is the hardware's ex2.approx. Steps, blocks and parts that a row does not see
// add zeros, so that o is a function of q and of keys and values 0 to p, whether the row runs alone, in a chunk or
// in training. Exception: an infinity or a NaN among the values of up to 63 later tokens of a batch makes it NaN.
//
// Backward: d_o is rounded to bf16; delta is the sum over v of o d_o, with o before it was rounded, in sixteen lanes
// (v / 4 % 16) by FMA, then a tree. p_j = 2^(s_j c - fma(M, c, log2 L)) is rounded for dv, and p_j (d_o . v_j - delta)
// for dq and dk, which are multiplied by scale at the end. dq is summed over keys in order, dk and dv over the query
// rows that see the key (tokens of its family in order, heads inside), from the first that sees the first key of the
// row's 64 on; all in steps of 16.
//
// Latents (latent_attention_cuda.h), whose values are the first V columns of the keys: the forward is the same, but
// for l, which is summed as a column of O whose every value is 1, by mma over bf16(e_j); there are no lanes. Backward:
// delta goes by 32 lanes (v % 32), then a tree; p_j = 2^(s_j c - M c) (1 / L); the slope p_j (d_o . v_j - delta) scale
// is rounded to bf16. dq is the sum of slopes times keys, over blocks of keys in order. A key's dk sums both gradients:
// for every row of its family that sees it, from the first tile of 128 query rows that does, in stages of 32 rows: for
// each of two steps of 16 rows, p times d_o (columns below V), then slopes times q. A row's last tile is filled up with
// rows that are not there.
#pragma once

#include <cstdint>

#include "ops/attention/attention_backend.h"

namespace r1::cuda {

inline constexpr int64_t kTensorWidth = 128;  // most K and V
inline constexpr int64_t kFewRows =
    64;  // if no row of the batch has more query rows of a group, other kernels run

// True if these pages are attended in this order.
inline bool on_tensor_cores(const KvPages& pages) {
  return pages.dtype == DType::bf16 && !pages.values_in_keys && pages.K <= kTensorWidth &&
         pages.V <= kTensorWidth;
}

// The lists of a batch that the kernels read, on the device. A row of the batch has at most `most_tokens` tokens. No grid
// depends on anything but these numbers, so that a captured graph serves every batch of as many rows and pages.
struct TensorRows {
  const int32_t *offsets = nullptr, *positions = nullptr, *table = nullptr;
  const int64_t* prefixes = nullptr;  // null, as tails, if no row has one
  const int32_t* tails = nullptr;
  int64_t S = 0, T = 0, max_pages = 0, most_tokens = 0;
};

// The keys and values of the batch lie in the pages already.
void tensor_attention(Context& ctx, const AttentionForward& call, const TensorRows& rows);
void tensor_attention_backward(Context& ctx, const AttentionBackward& call);

}  // namespace r1::cuda
