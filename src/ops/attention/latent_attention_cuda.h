// ops/attention/latent_attention_cuda.h: attention of cuda-bf16 over latents on tensor cores: one group, pages that hold
// values in keys. The order of sums is in tensor_attention_cuda.h. Private to this folder.
#pragma once

#include <cstdint>

#include "ops/attention/attention_backend.h"

namespace r1::cuda {

// The widest latent, and latent and rotary part together: those of DeepSeek-V3.
inline constexpr int64_t kLatentValues = 512, kLatentKeys = 576;

// True if these pages are attended in this order: a function of the shape alone.
inline bool latents_on_tensor_cores(const KvPages& pages) {
  if (pages.dtype != DType::bf16 || !pages.values_in_keys || pages.G != 1) return false;
  return pages.V <= kLatentValues && pages.K <= kLatentKeys;
}

// Writes the batch's keys into the pages if call.k is there, and attends.
void latent_attention(Context& ctx, const AttentionForward& call);
// The gradient of the values is added to that of the keys' first V columns; call.dv must be empty.
void latent_attention_backward(Context& ctx, const AttentionBackward& call);

}  // namespace r1::cuda
