// ops/attention/decode_cuda.h: attention for rows of one token each on a CUDA device, with the bits of
// attention_cuda.cu. Private to this folder.
//
// The lengths of the rows are read on the device alone, so the launches are the same in every step.
#pragma once

#include <cstdint>

#include "ops/attention/attention_backend.h"

namespace r1::cuda {

// The lists of a batch of S rows on the device. A row at position -1 is not there: it reads and writes no page,
// and its output is 0.
struct DecodeLists {
  const int32_t *positions = nullptr, *table = nullptr, *tails = nullptr;  // [S], [S, max_pages], [S] or null
  const int64_t* prefixes = nullptr;                                       // [S] or null
  int64_t S = 0, max_pages = 0;
};

// True if every row of the batch has one token.
bool decodes(const Batch& batch);
// Finds the lists or sends them. Call it inside an OpScope.
DecodeLists decode_lists(Context& ctx, const Batch& batch);

// True if decode_rows() has a kernel for these shapes.
bool has_decode_rows(const AttentionForward& call);
// Reads keys and values of the pages, the new ones included.
void decode_rows(Context& ctx, const AttentionForward& call, const DecodeLists& lists);

}  // namespace r1::cuda
