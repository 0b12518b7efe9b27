// data/overlap.h: finds texts of evaluations in training data: the n-gram filter of DeepSeek-R1 and
// DeepSeekMath.
//
// A word is a run of letters and digits, in lower case; every byte beyond ASCII counts as a letter. A text
// overlaps with an indexed one if the two share kWords consecutive words, or if both consist of the same 3 to
// kWords - 1 words. Sequences are compared by 64-bit hashes: among a million different sequences, two have
// equal hashes with a probability of 3e-8.
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
  static constexpr int kFewestWords = 3;  // the fewest words of a text that is compared as a whole

  // Adds a text. `source` is the caller's number for its origin; a sequence keeps the first source that added
  // it.
  void add(std::string_view text, uint32_t source);

  struct Match {
    uint32_t source = 0;
    std::string words;  // the shared words, as the text has them
  };
  // Returns the first match in the text, or nothing.
  std::optional<Match> find(std::string_view text) const;
  bool empty() const { return sources_.empty(); }

 private:
  std::unordered_map<uint64_t, uint32_t> sources_;  // hash of a sequence of words -> its source
};

}  // namespace r1
