// data/overlap.h: finds texts of evaluations in training data: the n-gram filter of DeepSeek-R1 and DeepSeekMath.
//
// A word is a run of letters and digits, in lower case; every byte beyond ASCII counts as a letter. A text overlaps with an
// indexed one if the two share kWords words in a row, or if both are of 3 to kWords - 1 words and the same words. Words are
// compared by 64-bit hashes: two of a million different sequences are taken for the same one with a chance of 3e-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace r1 {

class OverlapIndex {
 public:
  static constexpr int kWords = 10;
  static constexpr int kFewestWords = 3;  // of a text that is compared as a whole

  // `source` is the caller's number for where the text is from; the first one that adds a sequence owns it.
  void add(std::string_view text, uint32_t source);

  struct Match {
    uint32_t source = 0;
    std::string words;  // the shared ones, as they stand in the text
  };
  // The first match in the text; nothing if there is none.
  std::optional<Match> find(std::string_view text) const;
  bool empty() const { return sources_.empty(); }

 private:
  std::unordered_map<uint64_t, uint32_t> sources_;  // by the hash of the words
};

}  // namespace r1
