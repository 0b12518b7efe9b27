// server/answer_grammar.h: the grammar of the answers to a request, compiled once and kept for later requests.
#pragma once

#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/grammar/shortest.h"
#include "engine/grammar/token_masks.h"
#include "server/answer_structure.h"
#include "server/tool_syntax.h"

namespace r1 {

struct AnswerGrammar {
  std::shared_ptr<const TokenMasks> masks;
  ShortestText shortest;
  // Tokens that are enough for a whole answer. No value if the shortest text is too long to be written out, or
  // the vocabulary cannot write it.
  std::optional<int64_t> enough;
  enum class What : uint8_t { json, text, call, free };
  What what = What::json;  // free: a text that may end anywhere, with calls behind it
};

// The grammars that were used last. Safe for many threads.
class AnswerGrammars {
 public:
  static constexpr size_t kMost = 64;
  // The least recently used grammars are dropped while all of them take more memory than this.
  static constexpr size_t kMostBytes = size_t{256} << 20;

  AnswerGrammars(const Tokenizer& tokenizer, int64_t vocab_size)
      : tokenizer_(tokenizer), vocab_size_(vocab_size) {}

  using Shared = std::shared_ptr<const AnswerGrammar>;
  // A name for the grammar of equal requests.
  static std::string key_of(const AnswerStructure& structure, const ToolRequest& tools,
                            const ToolSyntax& syntax);
  // Returns null if the grammar is not kept. If it was refused, the refusal is thrown again.
  Shared find(const std::string& key);
  // Compiles a grammar, or finds it. Throws ApiError with status 400 that names the field and, in a schema,
  // the keyword. Time and memory are bounded.
  Shared make(const std::string& key, const AnswerStructure& structure, const ToolRequest& tools,
              const ToolSyntax& syntax);

 private:
  struct Entry {
    std::string key;
    Shared grammar;
    std::exception_ptr refusal;
  };
  void keep(Entry entry);
  std::shared_ptr<const TokenVocabulary> vocabulary();

  const Tokenizer tokenizer_;
  const int64_t vocab_size_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // from the last used
  std::shared_ptr<const TokenVocabulary> vocabulary_;
};

// The rules of the answers: a text of the structure, calls of the functions, or, if the model may choose,
// either. Throws Error.
GrammarRules answer_rules(const AnswerStructure& structure, const ToolRequest& tools,
                          const ToolSyntax& syntax);

}  // namespace r1
