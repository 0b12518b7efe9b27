// ops/sample/sample_backend.h: what sample.cc asks of a backend. Private to this folder.
#pragma once

#include <span>

#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1 {

struct SampleRows {
  int64_t V = 0;
  std::span<const RowToSample> rows;
  std::span<Sampled> out;    // [S], in the host's memory
  Sampled* drawn = nullptr;  // [S], in the device's memory: written instead of `out`, without waiting
};

struct FeedTokens {
  const Sampled* drawn = nullptr;
  std::span<const int32_t> from;
  int32_t* tokens = nullptr;
};

namespace cpu {
void sample_rows(Context& ctx, const SampleRows& call);
inline void feed_tokens(Context&, const FeedTokens&) {
  R1_CHECK(false, "the CPU's draws are on the host");
}
}  // namespace cpu

namespace cuda {
void sample_rows(Context& ctx, const SampleRows& call);
void feed_tokens(Context& ctx, const FeedTokens& call);
}  // namespace cuda

}  // namespace r1
