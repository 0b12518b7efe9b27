// ops/simd/column_blocks_cuda.cuh: sums over the rows of a batch, one per column, for numerics whose sums over tokens
// go by families (tensor/token_steps.h).
//
// The tokens of a family are cut into blocks of about kBlockRows rows, counted from the family's first. A block has a
// chain per column, which begins with 0; then the chains are added to the sums in order. So blocks run side by side,
// and the result does not depend on which families run together.
#pragma once

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/simd/columns_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/context.h"

namespace r1::cuda {

inline constexpr int64_t kBlockRows = 128;

struct RowBlock {
  int64_t first = 0, end = 0;
};

template <bool kSecond, bool kPerRow, class Step>
__global__ void __launch_bounds__(32)
    column_blocks(ColumnInputs in, const RowBlock* blocks, int64_t D, float* chains, Step step) {
  const int64_t d = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  if (d >= D) return;
  const RowBlock rows = blocks[blockIdx.y];
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t t = rows.first; t < rows.end; ++t)
    sum =
        step(sum, in.first[t * D + d], kSecond ? in.second[t * D + d] : 0.0f, kPerRow ? in.per_row[t] : 0.0f);
  chains[blockIdx.y * D + d] = sum;
}

static __global__ void __launch_bounds__(32)
    add_chains(const float* chains, int64_t count, int64_t D, float* sums) {
  const int64_t d = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  if (d >= D) return;
  float sum = sums[d];
#pragma unroll 16
  for (int64_t i = 0; i < count; ++i) sum = __fadd_rn(sum, chains[i * D + d]);
  sums[d] = sum;
}

// True if a context's sums over tokens go by families.
inline bool sums_by_family(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16 && ctx.steps != nullptr;
}

// sums[d] += the chains of step(sum, first[t, d], second[t, d], per_row[t]). `rows` is a multiple of the batch's tokens;
// a token's rows follow each other. Takes scratch, also while memory is measured.
template <bool kSecond, bool kPerRow, class Step>
void run_column_blocks(Context& ctx, const char* name, const ColumnInputs& in, int64_t rows, int64_t D,
                       float* sums, const Step& step) {
  int64_t tokens = 0;
  for (const int64_t n : ctx.steps->families) tokens += n;
  if (tokens == 0 || D == 0) return;
  R1_CHECK(rows % tokens == 0, name, ": ", rows, " rows, ", tokens, " tokens");
  const int64_t each = rows / tokens, together = std::max<int64_t>(1, kBlockRows / each);
  const OpScope scope(ctx);
  auto* list = ctx.host().array<RowBlock>(tokens / together + std::ssize(ctx.steps->families));
  int64_t count = 0, first = 0;
  for (const int64_t n : ctx.steps->families) {
    for (int64_t t = 0; t < n; t += together)
      list[count++] = {(first + t) * each, (first + std::min(n, t + together)) * each};
    first += n;
  }
  Upload upload(ctx);
  const int blocks = upload.add(std::span<const RowBlock>(list, static_cast<size_t>(count)));
  upload.send();
  float* chains = ctx.arena.array<float>(count * D);
  if (ctx.measuring) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const auto across = static_cast<unsigned>(ceil_div(D, int64_t{32}));
  column_blocks<kSecond, kPerRow><<<dim3(across, static_cast<unsigned>(count)), 32, 0, stream>>>(
      in, upload.at<RowBlock>(blocks), D, chains, step);
  check_launch(name);
  add_chains<<<across, 32, 0, stream>>>(chains, count, D, sums);
  check_launch(name);
}

}  // namespace r1::cuda
