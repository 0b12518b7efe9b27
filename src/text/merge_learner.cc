#include "text/merge_learner.h"

#include <algorithm>

#include "base/error.h"

namespace r1 {

MergeLearner::MergeLearner(const std::unordered_map<std::string, int64_t>& words, int64_t max_token_bytes)
    : max_token_bytes_(max_token_bytes), lengths_(256, 1) {
  words_.reserve(words.size());
  for (const auto& [text, count] : words) {
    if (text.size() < 2) continue;
    Word word{{}, count};
    for (const char byte : text) word.symbols.push_back(static_cast<unsigned char>(byte));
    words_.push_back(std::move(word));
  }
  for (size_t i = 0; i < words_.size(); ++i) {
    const auto& symbols = words_[i].symbols;
    for (size_t at = 0; at + 1 < symbols.size(); ++at) {
      add(key(symbols[at], symbols[at + 1]), words_[i].count, static_cast<uint32_t>(i));
    }
  }
  push_grown();
}

std::pair<int32_t, int32_t> MergeLearner::next(int64_t min_count) {
  while (!heap_.empty()) {
    const Candidate top = heap_.top();
    heap_.pop();
    const auto pair = pairs_.find(top.pair);
    const int64_t count = pair == pairs_.end() ? 0 : pair->second.count;
    if (count < min_count || count <= 0) continue;
    if (count != top.count) {
      heap_.push({count, top.pair});
      continue;
    }
    const auto left = static_cast<int32_t>(top.pair >> 32);
    const auto right = static_cast<int32_t>(top.pair & 0xFFFFFFFF);
    if (lengths_[left] + lengths_[right] <= max_token_bytes_) return {left, right};
    pairs_.erase(pair);
  }
  return {-1, -1};
}

void MergeLearner::merge(std::pair<int32_t, int32_t> pair, int32_t made) {
  R1_CHECK(made <= static_cast<int32_t>(lengths_.size()), made);
  if (made == static_cast<int32_t>(lengths_.size()))
    lengths_.push_back(lengths_[pair.first] + lengths_[pair.second]);
  auto seen = std::move(pairs_.at(key(pair.first, pair.second)).words);
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const uint32_t i : seen) rewrite(i, pair, made);
  pairs_.erase(key(pair.first, pair.second));
  push_grown();
}

void MergeLearner::add(uint64_t pair, int64_t count, uint32_t word) {
  Pair& entry = pairs_[pair];
  entry.count += count;
  if (count < 0) return;
  if (entry.words.empty() || entry.words.back() != word) entry.words.push_back(word);
  grown_.insert(pair);
}

void MergeLearner::push_grown() {
  for (const uint64_t pair : grown_) {
    const auto found = pairs_.find(pair);
    if (found != pairs_.end() && found->second.count > 0) heap_.push({found->second.count, pair});
  }
  grown_.clear();
}

// Subtracts the word's pairs, merges from the left, and adds the new pairs. This is cheap because words are
// short.
void MergeLearner::rewrite(uint32_t index, std::pair<int32_t, int32_t> pair, int32_t made) {
  Word& word = words_[index];
  auto& symbols = word.symbols;
  const auto is_pair = [&](size_t at) {
    return at + 1 < symbols.size() && symbols[at] == pair.first && symbols[at + 1] == pair.second;
  };
  const auto count_all = [&](int64_t count) {
    for (size_t at = 0; at + 1 < symbols.size(); ++at) add(key(symbols[at], symbols[at + 1]), count, index);
  };
  size_t first = 0;
  while (first < symbols.size() && !is_pair(first)) ++first;
  if (first == symbols.size()) return;
  count_all(-word.count);
  size_t out = first;
  for (size_t at = first; at < symbols.size(); ++out) {
    const bool here = is_pair(at);
    symbols[out] = here ? made : symbols[at];
    at += here ? 2 : 1;
  }
  symbols.resize(out);
  count_all(word.count);
}

}  // namespace r1
