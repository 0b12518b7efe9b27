#include "engine/row_batch.h"

#include <algorithm>

#include "base/integers.h"

namespace r1 {
namespace {

// Sized for the last-level cache of a server or a desktop, with room left for keys.
constexpr int64_t kSharedCache = int64_t{16} << 20;
// With fewer tokens per part, reading all weights costs as much as the other threads save.
constexpr int64_t kLeastTokens = 4;

}  // namespace

void RowBatch::build(std::span<const ScheduledRow> rows) {
  tokens_.clear();
  positions_.clear();
  offsets_.assign(1, 0);
  prefixes_.clear();
  tails_.clear();
  wanted_tokens_.clear();
  first_logits_.assign(1, 0);
  size_t most = 1;
  for (const ScheduledRow& row : rows) most = std::max(most, row.sequence->pages.size());
  max_pages_ = static_cast<int64_t>(most);
  pages_.assign(rows.size() * most, -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const ScheduledRow& row = rows[i];
    const Sequence& s = *row.sequence;
    std::ranges::copy(s.pages, pages_.begin() + static_cast<int64_t>(i * most));
    prefixes_.push_back(s.prefix);
    tails_.push_back(s.tail);
    for (int64_t p = row.begin; p < row.end; ++p) {
      if (p >= row.first_logits()) wanted_tokens_.push_back(static_cast<int32_t>(tokens_.size()));
      tokens_.push_back(s.tokens[static_cast<size_t>(p)]);
      positions_.push_back(static_cast<int32_t>(p));
    }
    for (size_t g = 0; g < row.guesses.size(); ++g) {
      wanted_tokens_.push_back(static_cast<int32_t>(tokens_.size()));
      tokens_.push_back(row.guesses[g]);
      positions_.push_back(static_cast<int32_t>(row.end + static_cast<int64_t>(g)));
    }
    offsets_.push_back(static_cast<int32_t>(tokens_.size()));
    first_logits_.push_back(static_cast<int32_t>(wanted_tokens_.size()));
  }
}

bool decodes_in_parts(int64_t tokens, int64_t packed_bytes, int64_t threads) {
  return threads > 1 && tokens >= kLeastTokens * threads && packed_bytes <= kSharedCache;
}

int64_t most_part_tokens(int64_t max_batch, int64_t threads) {
  constexpr int64_t kMost = 128;
  return std::min(kMost, ceil_div(max_batch, threads));
}

}  // namespace r1
