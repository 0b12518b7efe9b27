#include "engine/grammar/grammar.h"

#include <utility>

#include "engine/grammar/program.h"
#include "engine/grammar/rules.h"
#include "engine/grammar/states.h"

namespace r1 {

struct Grammar::Current {
  std::mutex mutex;
  std::shared_ptr<GrammarStates> states;
};

Grammar::Grammar(std::unique_ptr<const GrammarProgram> program)
    : program_(std::move(program)), current_(std::make_unique<Current>()) {
  current_->states = std::make_shared<GrammarStates>(*program_);
}
Grammar::~Grammar() = default;

std::shared_ptr<const Grammar> Grammar::from_rules(const GrammarRules& rules, const std::string& source) {
  return std::make_shared<const Grammar>(compile_rules(rules, source));
}

std::shared_ptr<GrammarStates> Grammar::states() const {
  const std::lock_guard lock(current_->mutex);
  bool full = false;
  {
    const std::lock_guard table(current_->states->mutex());
    full = current_->states->is_full();
  }
  if (full) current_->states = std::make_shared<GrammarStates>(*program_);
  return current_->states;
}

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar, bool after_lines)
    : grammar_(std::move(grammar)), states_(grammar_->states()) {
  const std::lock_guard lock(states_->mutex());
  number_ = states_->start(after_lines);
}

bool GrammarState::accept(std::string_view bytes) {
  bool full = false;
  {
    const std::lock_guard lock(states_->mutex());
    for (const char byte : bytes) number_ = states_->next(number_, static_cast<uint8_t>(byte));
    full = states_->is_full();
  }
  if (full) {
    const std::shared_ptr<GrammarStates> old = std::exchange(states_, grammar_->states());
    if (old != states_) {
      const std::scoped_lock lock(old->mutex(), states_->mutex());
      number_ = states_->import(*old, number_);
    }
  }
  return !is_dead();
}

bool GrammarState::is_complete() const {
  const std::lock_guard lock(states_->mutex());
  return states_->is_complete(number_);
}

bool GrammarState::can_continue() const {
  const std::lock_guard lock(states_->mutex());
  return states_->can_continue(number_);
}

bool GrammarState::is_dead() const {
  return number_ == GrammarStates::kDead;
}

}  // namespace r1
