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

inline constexpr int64_t kBlockRows = 64;

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

// Many chains are loaded before the first is added: a column is one thread's, and there are few.
static __global__ void __launch_bounds__(32)
    add_chains(const float* chains, int64_t count, int64_t D, float* sums) {
  constexpr int kAhead = 64;
  const int64_t d = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  if (d >= D) return;
  float sum = sums[d];
  int64_t i = 0;
  for (; i + kAhead <= count; i += kAhead) {
    float loaded[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) loaded[a] = chains[(i + a) * D + d];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) sum = __fadd_rn(sum, loaded[a]);
  }
#pragma unroll 8
  for (; i < count; ++i) sum = __fadd_rn(sum, chains[i * D + d]);
  sums[d] = sum;
}

// sums[d] += chains [count, D], in order.
inline void add_column_chains(const char* name, const float* chains, int64_t count, int64_t D, float* sums,
                              void* stream) {
  if (count == 0 || D == 0) return;
  add_chains<<<static_cast<unsigned>(ceil_div(D, int64_t{32})), 32, 0, static_cast<cudaStream_t>(stream)>>>(
      chains, count, D, sums);
  check_launch(name);
}

// True if a context's sums over tokens go by families.
inline bool sums_by_family(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16 && ctx.steps != nullptr;
}

// The blocks of a batch of families. `rows` is a multiple of the batch's tokens; a token's rows follow each other. The
// list lies in the arena, so the object belongs inside an OpScope.
struct RowBlocks {
  RowBlocks(Context& ctx, const char* name, int64_t rows) {
    int64_t tokens = 0;
    for (const int64_t n : ctx.steps->families) tokens += n;
    if (tokens == 0) return;
    R1_CHECK(rows % tokens == 0, name, ": ", rows, " rows, ", tokens, " tokens");
    const int64_t each = rows / tokens, together = std::max<int64_t>(1, kBlockRows / each);
    auto* on_host = ctx.host().array<RowBlock>(tokens / together + std::ssize(ctx.steps->families));
    int64_t first = 0;
    for (const int64_t n : ctx.steps->families) {
      for (int64_t t = 0; t < n; t += together)
        on_host[count++] = {(first + t) * each, (first + std::min(n, t + together)) * each};
      first += n;
    }
    Upload upload(ctx);
    const int blocks = upload.add(std::span<const RowBlock>(on_host, static_cast<size_t>(count)));
    upload.send();
    list = upload.at<RowBlock>(blocks);
  }
  const RowBlock* list = nullptr;  // the device's
  int64_t count = 0;
};

// sums[d] += the chains of step(sum, first[t, d], second[t, d], per_row[t]), as RowBlocks has the rows. Takes scratch,
// also while memory is measured.
template <bool kSecond, bool kPerRow, class Step>
void run_column_blocks(Context& ctx, const char* name, const ColumnInputs& in, int64_t rows, int64_t D,
                       float* sums, const Step& step) {
  const OpScope scope(ctx);
  const RowBlocks blocks(ctx, name, rows);
  float* chains = ctx.arena.array<float>(blocks.count * D);
  if (ctx.measuring || blocks.count == 0 || D == 0) return;
  const auto across = static_cast<unsigned>(ceil_div(D, int64_t{32}));
  column_blocks<kSecond, kPerRow>
      <<<dim3(across, static_cast<unsigned>(blocks.count)), 32, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
          in, blocks.list, D, chains, step);
  check_launch(name);
  add_column_chains(name, chains, blocks.count, D, sums, ctx.stream);
}

}  // namespace r1::cuda
