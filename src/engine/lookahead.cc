#include "engine/lookahead.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/batch.h"

namespace r1 {
namespace {

constexpr int64_t kLeastMatch = 2, kLongestMatch = 8;
constexpr int64_t kFirstGuesses = 3;
constexpr int64_t kLongestPause = 32;

}  // namespace

std::span<const int32_t> look_up(std::span<const int32_t> tokens, int64_t most) {
  const auto n = std::ssize(tokens);
  const auto at = [&](int64_t i) { return tokens[static_cast<size_t>(i)]; };
  int64_t best = kLeastMatch - 1, from = 0;  // the match's length, the place behind it
  for (int64_t end = n - 1; end > best; --end) {
    if (at(end - 1) != at(n - 1)) continue;
    int64_t length = 1;
    while (length < std::min(end, kLongestMatch) && at(end - 1 - length) == at(n - 1 - length)) ++length;
    if (length <= best) continue;
    best = length;
    from = end;
    if (best == kLongestMatch) break;
  }
  if (from == 0) return {};
  return tokens.subspan(static_cast<size_t>(from), static_cast<size_t>(std::min(most, n - from)));
}

// Chooses the number of the next guesses by the outcome of the last ones.
void Lookahead::judge(Kept& kept) const {
  if (kept.judged) return;
  kept.judged = true;
  const int64_t made = std::ssize(kept.guesses);
  if (kept.used == made) {
    kept.size = std::min(2 * made + 1, most_);
  } else {
    kept.size = std::max<int64_t>(kept.used, 1);
  }
  if (kept.used > 0) {
    kept.wrong = 0;
    return;
  }
  kept.wrong = std::min<int64_t>(kept.wrong + 1, 30);
  kept.pause = std::min(kLongestPause, (int64_t{1} << kept.wrong) - 1);
}

void Lookahead::guess(std::span<ScheduledRow> rows) {
  for (ScheduledRow& row : rows) {
    const Sequence& s = *row.sequence;
    Kept& kept = kept_[key_of(s)];
    judge(kept);
    if (kept.size == 0) kept.size = std::min(kFirstGuesses, most_);
    if (kept.pause > 0) {
      --kept.pause;
      continue;
    }
    const int64_t pages = std::ssize(s.pages) * kKeyTile - s.size(),
                  answer = s.group->max_generated - s.generated() - 1;
    const int64_t room = std::min({kept.size, pages, answer});
    if (room <= 0) continue;
    const std::span<const int32_t> found = look_up(s.tokens, room);
    if (found.empty()) continue;
    kept.guesses.assign(found.begin(), found.end());
    kept.first = row.end;
    kept.used = 0;
    kept.judged = false;
    row.guesses = kept.guesses;
    counts_.guessed += std::ssize(found);
  }
}

Tensor Lookahead::keep(const ScheduledRow& row, int64_t vocab, Memory& memory) {
  Kept& kept = kept_.at(key_of(*row.sequence));
  const auto count = std::ssize(row.guesses);
  if (kept.logits.bytes() == 0) kept.logits = Buffer(Shape{most_, vocab}, DType::f32, memory);
  row.sequence->guessed = row.end + count;
  return kept.logits.tensor().part(0, count);
}

Tensor Lookahead::take(const ScheduledRow& row) {
  Sequence& s = *row.sequence;
  const auto at = kept_.find(key_of(s));
  if (at == kept_.end() || at->second.judged) return {};
  Kept& kept = at->second;
  const int64_t i = row.begin - kept.first;
  const bool right = row.tokens() == 1 && s.guessed > row.begin && i == kept.used &&
                     i < std::ssize(kept.guesses) &&
                     kept.guesses[static_cast<size_t>(i)] == s.tokens[static_cast<size_t>(row.begin)];
  if (!right) {
    s.guessed = 0;
    judge(kept);
    return {};
  }
  ++kept.used;
  ++counts_.accepted;
  return kept.logits.tensor().part(i, 1);
}

void Lookahead::rest() {
  for (auto& [key, kept] : kept_) {
    if (kept.judged) kept.logits = Buffer();
  }
}

void Lookahead::drop(int64_t group) {
  kept_.erase(kept_.lower_bound({group, Sequence::kPrompt}),
              kept_.lower_bound({group + 1, Sequence::kPrompt}));
}

}  // namespace r1
