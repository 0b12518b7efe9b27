#include "data/overlap.h"

#include <array>

namespace r1 {
namespace {

bool is_word_byte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Mixes the bits with splitmix64's finaliser: every input bit affects every output bit.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

struct Word {
  size_t begin = 0, end = 0;
  uint64_t hash = 0;
};

// Finds the next word at or after `at`. Returns false at the end of the text.
bool next_word(std::string_view text, size_t at, Word& word) {
  while (at < text.size() && !is_word_byte(text[at])) ++at;
  if (at == text.size()) return false;
  word = {.begin = at, .end = at, .hash = 0xCBF29CE484222325};  // FNV-1a, 64 bits
  for (; word.end < text.size() && is_word_byte(text[word.end]); ++word.end)
    word.hash = (word.hash ^ static_cast<unsigned char>(lower(text[word.end]))) * 0x100000001B3;
  word.hash = mixed(word.hash);
  return true;
}

// Calls use(hash, begin, end) for every run of kWords words, or once for a shorter text of kFewestWords words
// or more, until it returns true.
template <class Use>
void for_each_run(std::string_view text, const Use& use) {
  constexpr size_t kWords = OverlapIndex::kWords;
  std::array<Word, kWords> last;
  const auto hash_of = [&](size_t count, size_t words) {
    uint64_t hash = words;
    for (size_t i = count - words; i < count; ++i) hash = mixed(hash + last[i % kWords].hash);
    return hash;
  };
  size_t count = 0;
  Word word;
  for (size_t at = 0; next_word(text, at, word); at = word.end) {
    last[count++ % kWords] = word;
    if (count >= kWords && use(hash_of(count, kWords), last[count % kWords].begin, word.end)) return;
  }
  if (count >= OverlapIndex::kFewestWords && count < kWords)
    use(hash_of(count, count), last[0].begin, last[count - 1].end);
}

}  // namespace

void OverlapIndex::add(std::string_view text, uint32_t source) {
  for_each_run(text, [&](uint64_t hash, size_t, size_t) {
    sources_.try_emplace(hash, source);
    return false;
  });
}

std::optional<OverlapIndex::Match> OverlapIndex::find(std::string_view text) const {
  std::optional<Match> match;
  for_each_run(text, [&](uint64_t hash, size_t begin, size_t end) {
    const auto found = sources_.find(hash);
    if (found != sources_.end())
      match = Match{.source = found->second, .words = std::string(text.substr(begin, end - begin))};
    return match.has_value();
  });
  return match;
}

}  // namespace r1
