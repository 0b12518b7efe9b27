// ops/simd/block_table_cuda.cuh: one launch for many tensors.
//
// Each tensor is cut into blocks of its own, which are numbered through. A table tells the first block of each tensor, and a
// block of threads searches it for its tensor.
#pragma once

#include <cstdint>
#include <new>
#include <span>

#include "base/integers.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/context.h"

namespace r1::cuda {

// A Row has the members int64_t first_block and n, its tensor's elements. Row i of a table owns blocks [first_block,
// first_block of row i + 1).

// Returns the last of `count` rows that does not begin after `block`. Rows of no blocks are not in the table.
template <class Row>
__device__ __forceinline__ const Row& row_of_block(const Row* rows, int count, int64_t block) {
  int low = 0, high = count;  // rows[low] begins at `block` or before it, rows[high] after it
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (rows[middle].first_block <= block ? low : high) = middle;
  }
  return rows[low];
}

// A table of at most `most` rows, made on the host and sent to the device. It belongs inside an OpScope.
template <class Row>
struct BlockTable {
  BlockTable(Context& ctx, int64_t most) : on_host(ctx.host().array<Row>(most)), measuring(ctx.measuring) {}
  void add(Row row, int64_t block) {
    if (row.n == 0) return;
    row.first_block = blocks;
    if (!measuring) new (on_host + count) Row(row);
    ++count;
    blocks += ceil_div(row.n, block);
  }
  void send(Context& ctx) {
    Upload upload(ctx);
    const int list = upload.add(std::span<const Row>(on_host, static_cast<size_t>(count)));
    upload.send();
    rows = upload.at<Row>(list);
  }
  Row* on_host;
  bool measuring;
  const Row* rows = nullptr;
  int count = 0;
  int64_t blocks = 0;
};

}  // namespace r1::cuda
