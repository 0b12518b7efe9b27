// ops/sample/sample_backend.h: what sample.cc asks of a backend. Private to this folder.
#pragma once

#include <span>

#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1 {

struct SampleRows {
  int64_t V = 0;
  std::span<const RowToSample> rows;
  std::span<Sampled> out;  // [S], in the host's memory
};

namespace cpu {
void sample_rows(Context& ctx, const SampleRows& call);
}  // namespace cpu

namespace cuda {
void sample_rows(Context& ctx, const SampleRows& call);
}  // namespace cuda

}  // namespace r1
