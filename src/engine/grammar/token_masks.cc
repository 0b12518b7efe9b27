#include "engine/grammar/token_masks.h"

#include <fmt/format.h>

#include "engine/grammar/program.h"
#include "engine/grammar/states.h"

namespace r1 {
namespace {

// Walks the tree of tokens along a state.
TokenMask find_allowed(GrammarStates& states, int32_t state, const TokenVocabulary& vocabulary) {
  TokenMask mask(vocabulary.words());
  const auto nodes = vocabulary.nodes();
  const auto ids = vocabulary.token_ids();
  std::vector<int32_t> at(static_cast<size_t>(vocabulary.deepest()) + 1, state);  // the state at each depth
  const std::lock_guard lock(states.mutex());
  const size_t work = states.work();
  for (size_t i = 0; i < nodes.size();) {
    if (states.work() - work > TokenMasks::kMostWork)
      throw Error(fmt::format("{}: the grammar is too ambiguous: its texts can be read in too many ways",
                              states.program().source));
    const TokenVocabulary::Node& node = nodes[i];
    const int32_t next = states.next(at[node.depth - size_t{1}], node.byte);
    if (next == GrammarStates::kDead) {
      i = node.end;
      continue;
    }
    at[node.depth] = next;
    for (const int32_t id : ids.subspan(node.first_token, node.tokens))
      mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    ++i;
  }
  return mask;
}

}  // namespace

std::shared_ptr<const TokenMask> TokenMasks::mask(const GrammarState& state) const {
  const std::lock_guard lock(mutex_);
  if (states_ != state.states()) {
    masks_.clear();
    states_ = state.states();
  }
  const auto at = masks_.find(state.number());
  if (at != masks_.end()) return at->second;
  if (masks_.size() * vocabulary_->words() * sizeof(uint64_t) >= kMostBytes) masks_.clear();
  auto made = std::make_shared<const TokenMask>(find_allowed(*states_, state.number(), *vocabulary_));
  masks_.emplace(state.number(), made);
  return made;
}

size_t TokenMasks::bytes() const {
  const std::shared_ptr<GrammarStates> states = grammar_->states();
  size_t bytes = 0;
  {
    const std::lock_guard table(states->mutex());
    bytes = states->bytes();
  }
  const std::lock_guard lock(mutex_);
  return bytes + masks_.size() * vocabulary_->words() * sizeof(uint64_t);
}

}  // namespace r1
