// text/merge_learner.h: which pair of symbols to merge next: the core of training a BPE vocabulary.
#pragma once

#include <cstdint>
#include <queue>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace r1 {

// Words are symbol lists with counts; every pair of neighbours has its count and the words it was seen in; a
// heap orders the pairs. A heap entry may be out of date (then it is put back with the true count): what grew
// is pushed anew.
class MergeLearner {
 public:
  // Symbols 0 .. 255 are the bytes. Pairs that would be longer than max_token_bytes are never given.
  MergeLearner(const std::unordered_map<std::string, int64_t>& words, int64_t max_token_bytes);

  // The most frequent pair, of several the one with the lowest numbers; (-1, -1) where none occurs min_count
  // times.
  std::pair<int32_t, int32_t> next(int64_t min_count);
  // `pair` becomes the symbol `made`: the next new number, or an older symbol of the same bytes.
  void merge(std::pair<int32_t, int32_t> pair, int32_t made);
  // `pair` is not to be merged.
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
