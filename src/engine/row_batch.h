// engine/row_batch.h: scheduled rows as the model's batch. Bookkeeping only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "tensor/batch.h"

namespace r1 {

// Keeps its memory from one batch to the next.
class RowBatch {
 public:
  void build(std::span<const ScheduledRow> rows);
  // Valid until the next build.
  Batch view() const { return {tokens_, positions_, offsets_, pages_, max_pages_, prefixes_, tails_}; }
  // Returns the tokens whose logits the rows ask for, those of guesses included, in order of the rows, as
  // indices into the batch's tokens.
  std::span<const int32_t> wanted_tokens() const { return wanted_tokens_; }
  // Row i's part of wanted_tokens(): [first_logits(i), first_logits(i + 1)).
  int32_t first_logits(size_t i) const { return first_logits_[i]; }

 private:
  std::vector<int32_t> tokens_, positions_, offsets_, pages_, tails_, wanted_tokens_, first_logits_;
  std::vector<int64_t> prefixes_;
  int64_t max_pages_ = 0;
};

// Returns true if rows of so many tokens go in parts, one per thread, each taken from the embedding to the
// drawn token; otherwise all threads work on each op together. Parts pay if a step consists of many small ops
// and the weights (their copies for the kernels, in bytes), which every part reads, stay in a cache that the
// threads share.
bool decodes_in_parts(int64_t tokens, int64_t packed_bytes, int64_t threads);
// The most tokens of a part that go through the model at a time: the part's share of a whole batch, but no
// more than a core's second-level cache holds together with their activations.
int64_t most_part_tokens(int64_t max_batch, int64_t threads);

}  // namespace r1
