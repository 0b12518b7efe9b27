#include "reward/repetition.h"

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"

namespace r1 {
namespace {

constexpr size_t kLongestWord = 16;  // bytes

// Returns one number per word. Equal words have equal numbers.
std::vector<uint32_t> numbered_words(std::string_view text) {
  std::unordered_map<std::string, uint32_t> numbers;
  std::vector<uint32_t> words;
  std::string word;
  const auto end_word = [&] {
    if (word.empty()) return;
    words.push_back(numbers.try_emplace(word, static_cast<uint32_t>(numbers.size())).first->second);
    word.clear();
  };
  for (const char c : text) {
    const bool inside = (static_cast<unsigned char>(c) & 0xC0) == 0x80;  // a continuation byte of UTF-8
    const bool part_of_word = is_letter(c) || is_digit(c) || (static_cast<unsigned char>(c) & 0x80) != 0;
    if (!part_of_word || (!inside && word.size() >= kLongestWord)) end_word();
    if (is_blank(c)) continue;
    word += to_lower(c);
    if (!part_of_word) end_word();
  }
  end_word();
  return words;
}

}  // namespace

double repetition_of(std::string_view text, int64_t n) {
  R1_CHECK(n >= 1, "n-grams of ", n);
  // Adjacent numbers are paired and numbered again. After k rounds a number stands for k + 1 consecutive
  // words.
  const std::vector<uint32_t> words = numbered_words(text);
  std::vector<uint32_t> grams = words;
  for (int64_t k = 1; k < n && !grams.empty(); ++k) {
    std::unordered_map<uint64_t, uint32_t> numbers;
    for (size_t i = 0; i + 1 < grams.size(); ++i) {
      const uint64_t pair = (uint64_t{grams[i]} << 32) | words[i + static_cast<size_t>(k)];
      grams[i] = numbers.try_emplace(pair, static_cast<uint32_t>(numbers.size())).first->second;
    }
    grams.pop_back();
  }
  if (grams.empty()) return 0;
  const std::unordered_set<uint32_t> different(grams.begin(), grams.end());
  return 1 - static_cast<double>(different.size()) / static_cast<double>(grams.size());
}

}  // namespace r1
