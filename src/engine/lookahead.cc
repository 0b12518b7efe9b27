#include "engine/lookahead.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/batch.h"

namespace r1 {
namespace {

constexpr int64_t kLeastMatch = 2, kLongestMatch = 8;
constexpr int64_t kFirstGuesses = 3;
constexpr int64_t kLongestPause = 32;
// The head is right in a known share of the cases, so a few wrong guesses in a row say little.
constexpr int64_t kForgivenOfHead = 3;

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
  const bool by_head = kept.source == GuessSource::head;
  Pace& pace = by_head ? kept.head : kept.look_up;
  const int64_t made = std::ssize(kept.guesses);
  if (kept.used == made) {
    pace.size = std::min(by_head ? made + 1 : 2 * made + 1, most_);
  } else {
    pace.size = std::max<int64_t>(kept.used, 1);
  }
  if (kept.used > 0) {
    pace.wrong = 0;
    return;
  }
  pace.wrong = std::min<int64_t>(pace.wrong + 1, 30);
  const int64_t counted = pace.wrong - (by_head ? kForgivenOfHead : 0);
  pace.pause = counted <= 0 ? 0 : std::min(kLongestPause, (int64_t{1} << counted) - 1);
}

void Lookahead::set(Kept& kept, ScheduledRow& row, GuessSource source, std::span<const int32_t> guesses) {
  kept.guesses.assign(guesses.begin(), guesses.end());
  kept.source = source;
  kept.first = row.end;
  kept.used = 0;
  kept.judged = false;
  row.guesses = kept.guesses;
  counts_.of(source).guessed += std::ssize(guesses);
}

void Lookahead::guess_by_head(ScheduledRow& row, std::span<const int32_t> guesses) {
  set(kept_.at(key_of(*row.sequence)), row, GuessSource::head, guesses);
}

std::vector<int64_t> Lookahead::guess(std::span<ScheduledRow> rows) {
  std::vector<int64_t> of_head(rows.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    ScheduledRow& row = rows[i];
    const Sequence& s = *row.sequence;
    Kept& kept = kept_[key_of(s)];
    judge(kept);
    if (kept.look_up.size == 0) kept.look_up.size = std::min(kFirstGuesses, most_);
    if (kept.head.size == 0) kept.head.size = 1;
    const int64_t pages = std::ssize(s.pages) * kKeyTile - s.size(),
                  answer = s.group->max_generated - s.generated() - 1;
    const auto may_guess = [](Pace& pace) { return pace.pause == 0 || (--pace.pause, false); };
    if (may_guess(kept.look_up)) {
      const int64_t room = std::min({kept.look_up.size, pages, answer});
      const std::span<const int32_t> found = room > 0 ? look_up(s.tokens, room) : std::span<const int32_t>{};
      if (!found.empty()) {
        set(kept, row, GuessSource::look_up, found);
        continue;
      }
    }
    if (may_guess(kept.head)) of_head[i] = std::max<int64_t>(0, std::min({kept.head.size, pages, answer}));
  }
  return of_head;
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
  ++counts_.of(kept.source).accepted;
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
