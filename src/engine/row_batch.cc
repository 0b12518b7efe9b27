#include "engine/row_batch.h"

#include <algorithm>

#include "base/integers.h"

namespace r1 {
namespace {

// Sized for the last-level cache of a server or a desktop, with room left for keys.
constexpr int64_t kSharedCache = int64_t{16} << 20;
// With fewer tokens per part, reading all weights costs as much as the other threads save.
constexpr int64_t kLeastTokens = 4;

const std::vector<int32_t>& pages_of(const ScheduledRow& row) {
  return row.sequence != nullptr ? row.sequence->pages : row.prompt->pages;
}

}  // namespace

void RowBatch::build(std::span<const ScheduledRow> rows) {
  tokens_.clear();
  positions_.clear();
  offsets_.assign(1, 0);
  prefixes_.clear();
  tails_.clear();
  last_tokens_.clear();
  logits_row_.clear();
  size_t most = 1;
  for (const ScheduledRow& row : rows) most = std::max(most, pages_of(row).size());
  max_pages_ = static_cast<int64_t>(most);
  pages_.assign(rows.size() * most, -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const ScheduledRow& row = rows[i];
    std::ranges::copy(pages_of(row), pages_.begin() + static_cast<int64_t>(i * most));
    prefixes_.push_back(row.sequence != nullptr ? row.sequence->prefix : 0);
    tails_.push_back(row.sequence != nullptr ? row.sequence->tail : -1);
    if (row.sequence != nullptr) {
      tokens_.push_back(row.sequence->next_token);
      positions_.push_back(static_cast<int32_t>(row.sequence->length));
    } else {
      for (int64_t p = row.begin; p < row.end; ++p) {
        tokens_.push_back(row.prompt->tokens[static_cast<size_t>(p)]);
        positions_.push_back(static_cast<int32_t>(p));
      }
    }
    offsets_.push_back(static_cast<int32_t>(tokens_.size()));
    if (row.sequence != nullptr || row.end == std::ssize(row.prompt->tokens)) {
      logits_row_.push_back(static_cast<int32_t>(last_tokens_.size()));
      last_tokens_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
    } else {
      logits_row_.push_back(-1);
    }
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
