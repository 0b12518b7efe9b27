// engine/grammar/token_masks.h: which tokens of a vocabulary may come next.
//
// A token may come if its bytes may: the tree of all tokens is walked together with the grammar's states, and
// a branch ends where the state is dead. Masks are kept per state; states are the same for all texts in the
// same situation (states.h), so that most masks are found, not made.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/grammar/grammar.h"
#include "engine/grammar/vocabulary.h"

namespace r1 {

// A bit per token, as ops/sample takes it.
using TokenMask = std::vector<uint64_t>;

// The masks of one grammar for one vocabulary. Safe for many threads.
class TokenMasks {
 public:
  // Masks that are kept take at most this much memory.
  static constexpr size_t kMostBytes = size_t{32} << 20;
  // A mask that needs more work than this (GrammarStates::work) is refused, so that a grammar that can be read
  // in many ways does not hold up other requests: half a second or so.
  static constexpr size_t kMostWork = 4'000'000;

  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenVocabulary> vocabulary)
      : grammar_(std::move(grammar)), vocabulary_(std::move(vocabulary)) {}

  // Tokens all of whose bytes the state accepts. Throws Error if the grammar is too ambiguous.
  std::shared_ptr<const TokenMask> mask(const GrammarState& state) const;
  size_t bytes() const;  // that the masks and the grammar's states take now

  const std::shared_ptr<const Grammar>& grammar() const { return grammar_; }
  const TokenVocabulary& vocabulary() const { return *vocabulary_; }

 private:
  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<GrammarStates> states_;  // the table that the numbers of masks_ belong to
  mutable std::unordered_map<int32_t, std::shared_ptr<const TokenMask>> masks_;
};

}  // namespace r1
