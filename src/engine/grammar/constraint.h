// engine/grammar/constraint.h: a grammar for a request's answers, and where each of its samples is in it.
//
// A grammar is about the answer. Where the model thinks first, the thought is free, and the grammar begins
// behind its end, </think>, after up to two line feeds. In a constrained sample the model cannot stop inside
// its thought, and stop tokens are allowed exactly when the text is complete. Other special tokens never are.
// A sample ends by itself when its text is complete and nothing can follow.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/grammar.h"
#include "engine/grammar/token_masks.h"

namespace r1 {

struct Constraint {
  enum class Begin : uint8_t {
    at_once,        // with the first token
    after_thought,  // the prompt has opened a thought: behind its end
    // The answer may begin with <think>: if it does, behind the end of the thought, otherwise at once.
    after_any_thought,
  };
  std::shared_ptr<const TokenMasks> masks;
  Begin begin = Begin::at_once;
};

// One sample's place. For one thread at a time.
class ConstraintState {
 public:
  // `stop_tokens` must outlive the state.
  ConstraintState(const Constraint& constraint, std::span<const int32_t> stop_tokens);

  // Returns the tokens that may come next: a bit per token, valid until the next call. All bits are 0 if the
  // grammar has failed or the vocabulary cannot write what must follow; why() says which.
  std::span<const uint64_t> allowed();
  // Takes the next token of the sample; stop tokens end it and add nothing.
  void add(int32_t token);

  bool is_complete() const;  // the answer so far is a whole text of the grammar
  bool must_end() const;     // and nothing can follow
  bool allows_none() const;  // the last mask had no token; why() says why
  std::string why() const;

 private:
  enum class Phase : uint8_t { deciding, thinking, answering };

  void think(std::string_view text);
  void answer(std::string_view text);
  void allow_thought_tokens();
  void allow_opening_tokens();
  bool is_stop(int32_t token) const;

  Constraint constraint_;
  std::span<const int32_t> stop_tokens_;
  GrammarState state_;
  Phase phase_ = Phase::answering;
  std::string opening_;  // deciding: the bytes so far, which <think> begins with
  std::string tail_;     // thinking: the last bytes, fewer than </think> has
  TokenMask mask_;
  std::string failed_;  // the grammar's error
};

}  // namespace r1
