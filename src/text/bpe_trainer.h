// text/bpe_trainer.h: learns a byte-level BPE vocabulary from texts and writes it as tokenizer.json.
//
// The same texts, in any order, give the same file: counts are sums, and of the most frequent pairs the one
// with the lowest ids, left one first, is merged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

struct AddedTokenSpec {
  std::string content;
  bool special = true;  // dropped when decoding for people; <think> is not
};

// Letters with marks, one digit, or signs, the first and the last with a space before; line ends; other white
// space, its last one left to the word that follows.
inline constexpr std::string_view kTrainerPattern =
    R"( ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|[\r\n]+|\s+(?!\S)|\s+)";

struct BpeTrainerOptions {
  int64_t vocab_size = 0;  // at least 256 + added; fewer come out where the texts have no more pairs
  std::vector<AddedTokenSpec> added = {};  // never part of a merge
  bool added_first = true;                 // ids 0 .. added-1, as DeepSeek has them; otherwise the last ids
  std::string bos = {};  // one of `added`: the post-processor puts it before every text; "": nothing does
  std::string pattern{kTrainerPattern};
  int64_t min_count = 2;         // rarer pairs are not merged
  int64_t max_token_bytes = 32;  // longer tokens are not made
};

class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainerOptions options);  // throws Error
  ~BpeTrainer();
  void feed(std::string_view text);
  std::string train() const;  // tokenizer.json's text

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The files that make a directory's tokenizer loadable by us and by transformers.
struct TokenizerFiles {
  std::string tokenizer;  // BpeTrainer::train's, or another tokenizer.json's text
  std::string bos = {};
  std::string eos = {};
  std::string pad = {};  // "": as eos
  std::string chat_template = {};
  int64_t model_max_length = 0;  // tokens; 0: not said
};

// Writes tokenizer.json and tokenizer_config.json into an existing directory.
void write_tokenizer(const std::filesystem::path& directory, const TokenizerFiles& files);

}  // namespace r1
