// text/merge_learner.h: chooses the pair of symbols to merge next: the core of training a BPE vocabulary.
#pragma once

#include <cstdint>
#include <queue>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace r1 {

// Words are symbol lists with counts. Every pair of neighbours has its count and the words in which it was
// seen, and a heap orders the pairs. A heap entry may be out of date; it is then put back with the true
// count. Pairs whose count grew are pushed anew.
class MergeLearner {
 public:
  // Symbols 0 .. 255 are the bytes. Pairs that would be longer than max_token_bytes are never returned.
  MergeLearner(const std::unordered_map<std::string, int64_t>& words, int64_t max_token_bytes);

  // Returns the most frequent pair, and of several the one with the lowest numbers; (-1, -1) if no pair
  // occurs min_count times.
  std::pair<int32_t, int32_t> next(int64_t min_count);
  // Replaces `pair` by the symbol `made`: the next new number, or an older symbol of the same bytes.
  void merge(std::pair<int32_t, int32_t> pair, int32_t made);
  // Excludes `pair` from merging.
  void drop(std::pair<int32_t, int32_t> pair) { pairs_.erase(key(pair.first, pair.second)); }

 private:
  struct Word {
    std::vector<int32_t> symbols;
    int64_t count;
  };
  struct Pair {
    int64_t count = 0;
    std::vector<uint32_t> words;  // perhaps more than once, perhaps no longer
  };
  struct Candidate {
    int64_t count;
    uint64_t pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  static uint64_t key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right);
  }
  void add(uint64_t pair, int64_t count, uint32_t word);
  void push_grown();
  void rewrite(uint32_t index, std::pair<int32_t, int32_t> pair, int32_t made);

  int64_t max_token_bytes_;
  std::vector<int64_t> lengths_;  // in bytes, of every symbol
  std::vector<Word> words_;
  std::unordered_map<uint64_t, Pair> pairs_;
  std::unordered_set<uint64_t> grown_;
  std::priority_queue<Candidate> heap_;
};

}  // namespace r1
