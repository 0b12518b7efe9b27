// ops/attention/attention.h: causal attention over paged keys, for GQA and for MLA in latent form (G = 1,
// V inside K).
//
//   o[t, h] = sum over j <= position(t) of softmax_j(scale * q[t, h] . k[j, g]) * v[j, g],   g = h / (H / G)
//
// One call serves prefill, decode, scoring and training. It first writes this batch's k and v into the pages,
// then reads keys 0 .. position from the pages of each row.
//
// cpu-f32: s_j walks K in order by FMA, then is multiplied by scale; m = max s_j; e_j = exp(s_j - m) with our
// exp. The sum of e_j runs in kKeyTile virtual lanes (lane = j mod kKeyTile, j in order), then a fixed tree.
// o walks j in order by FMA over e_j * v_j and is divided by the sum at the end. Masked keys are not read.
// Bit-exact: o[t] is a function of q[t] and of keys and values 0 .. position(t) alone.
//
// Bf16 numerics: q, k, v and the pages are bf16, and o is rounded at the end; scores and e_j stay f32. cuda-bf16
// sums on tensor cores in the orders of tensor_attention_cuda.h, except heads wider than 128, and latents wider than
// 512, or than 576 with their rotary part.
// cpu-q8act: q is f32 and the pages are bf16, to which k and v are rounded; all else is as in cpu-f32.
//
// Pages of q8 (inference alone): k and v are rounded to int8 numbers with one f32 scale per token and head, and
// attention sees number * scale, rounded once to f32; all else is as in the numerics' own row:
//
//   x [n] is k[t, g], and v[t, g]. In the latent form it is the latent, i.e. the first V columns of k, and the
//   rotary rest, each with a scale of its own
//   amax = max |x|;  d = amax / 127;  q = round to nearest even of x * (127 / amax);  x' = f32(q * d)
//   where division, product and d each round once to f32. If amax is below 2^-119, d = 0 and q = 0. If x has a
//   NaN or an infinity, d = NaN and q = 0, so that attention over it is NaN.
//
// Backward (training: every row starts at position 0 or has a parent): probabilities are recomputed from
// the saved maximum and sum. Sums run over key or query positions in order and over the heads of a group
// in order. If rows share a parent, the sums for the gradients of its keys and values continue over the
// rows of the batch in order. If values lie in keys, cuda-bf16 adds their gradient to that of the keys' first V
// columns, and v gets none.
//
// Scratch is bounded: [a block of query rows, keys] per thread. Rows of one token whose neighbours have the
// same prefix (tensor/batch.h) pass over its keys together if a group has at most twelve heads.
#pragma once

#include "ops/rope/rope.h"
#include "tensor/batch.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

// One layer's pages: f32, bf16 or q8. A page holds keys transposed [G][K][kKeyTile] (lanes over keys), then
// values [G][kKeyTile][V]. MLA's values are the first V columns of its keys: with values_in_keys a page holds
// only keys [G][kKeyTile][K], which are transposed when they are read. This halves the bytes, which limit
// decoding of many sequences. In q8, the scales follow: f32 [G][2][kKeyTile], of keys and values, or of latents
// and rotary parts.
struct KvPages {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t G = 0, K = 0, V = 0;
  bool values_in_keys = false;
  int64_t page_numbers() const { return G * (values_in_keys ? K : K + V) * kKeyTile; }
  // The elements that a page takes of its storage; in q8 they are bytes.
  int64_t page_elements() const {
    constexpr int64_t kScaleBytes = 4;
    return page_numbers() + (dtype == DType::q8 ? G * 2 * kKeyTile * kScaleBytes : 0);
  }
  // A number that differs if the pages lie elsewhere.
  uint64_t place() const { return reinterpret_cast<uintptr_t>(data); }
  size_t page_bytes() const { return static_cast<size_t>(page_elements()) * size_of(dtype); }
  // The pages of one layer of `storage` [layers, pages, page_elements()], which has this shape.
  KvPages of_layer(const Tensor& storage, int64_t layer) const {
    R1_CHECK(storage.dtype == dtype, "pages of ", name_of(dtype), " in ", name_of(storage.dtype));
    R1_CHECK(storage.dim(-1) == page_elements() && layer >= 0 && layer < storage.dim(0), "layer ", layer,
             " of ", storage.shape.str(), ", ", page_elements(), " elements a page");
    KvPages pages = *this;
    pages.data =
        static_cast<char*>(storage.data) + static_cast<size_t>(layer * storage.dim(1)) * pages.page_bytes();
    return pages;
  }
};

// q [T, H, K], k [T, G, K], v [T, G, V] -> [T, H, V]. For MLA, v is the latent, i.e. the first V columns
// of k. With a tape, every row must start at position 0 or have a parent, because keys of earlier calls
// have no gradient (R1_CHECK).
Tensor attention(Context& ctx, const Batch& batch, const KvPages& pages, const Tensor& q, const Tensor& k,
                 const Tensor& v, float scale);

// Heads as the projections made them: before their norms, if there are any, and before rope.
struct ProjectedHeads {
  Tensor q, k, v;                                        // [T, H, K], [T, G, K], [T, G, V]
  const Parameter *q_norm = nullptr, *k_norm = nullptr;  // [K]; both or none
  float eps = 0;
  Rotary rotary{};
};
// attention() of heads whose q and k are normed and turned first, with the same bits in fewer launches. Without a
// tape. Returns an empty tensor, and does nothing, if there is no kernel for it: there is one on CUDA devices, for
// rows of one token each.
Tensor attention_of_projected(Context& ctx, const Batch& batch, const KvPages& pages,
                              const ProjectedHeads& heads, float scale);

// Latents as the projections made them: before the norm of the latent, and before rope.
struct ProjectedLatents {
  Tensor q;           // [T, H, n + P], of which the last P are turned
  Tensor compressed;  // [T, R + P]: the latent, then the rotary key
  const Parameter* norm = nullptr;  // [R]
  float eps = 0;
  Rotary rotary{};
};
// True if place_latents() has a kernel: on CUDA devices in cuda-bf16, for rows of one token each, without a tape.
bool places_latents(Context& ctx, const Batch& batch, const KvPages& pages);
// Norms latents and turns rotary parts: keys go into their pages, and the queries' rotary parts into the last P columns
// of `absorbed` [T, H, R + P].
void place_latents(Context& ctx, const Batch& batch, const KvPages& pages, const ProjectedLatents& latents,
                   const Tensor& absorbed);
// attention() of queries whose keys place_latents() has put into the pages.
Tensor attention_of_placed(Context& ctx, const Batch& batch, const KvPages& pages, const Tensor& q, float scale);

namespace ref {
// Rounds x to q8, literally: sets q [n] and returns d.
float quantise_key(const float* x, int64_t n, int8_t* q);
// Whole sequences without pages: offsets [S+1], every row starts at position 0; o [T, H, V].
void attention(const float* q, const float* k, const float* v, const int32_t* offsets, int64_t S, int64_t H,
               int64_t G, int64_t K, int64_t V, double scale, double* o);
void attention_backward(const float* q, const float* k, const float* v, const float* d_o,
                        const int32_t* offsets, int64_t S, int64_t H, int64_t G, int64_t K, int64_t V,
                        double scale, double* dq, double* dk, double* dv);
}  // namespace ref

}  // namespace r1
