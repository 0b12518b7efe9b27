#include "engine/grammar/constraint.h"

#include <algorithm>

#include "base/error.h"
#include "engine/grammar/program.h"
#include "text/think.h"

namespace r1 {
namespace {

void set_bit(TokenMask& mask, int32_t token, bool value) {
  uint64_t& word = mask[static_cast<size_t>(token) / 64];
  const uint64_t bit = uint64_t{1} << (token % 64);
  word = value ? word | bit : word & ~bit;
}

// Returns the length of the longest end of `text` that is a beginning of `tag`, but not the whole tag.
size_t begun_tag(std::string_view text, std::string_view tag) {
  size_t length = std::min(text.size(), tag.size() - 1);
  while (!text.ends_with(tag.substr(0, length))) --length;
  return length;
}

}  // namespace

ConstraintState::ConstraintState(const Constraint& constraint, std::span<const int32_t> stop_tokens)
    : constraint_(constraint),
      stop_tokens_(stop_tokens),
      state_(constraint.masks->grammar(), constraint.begin != Constraint::Begin::at_once) {
  if (constraint.begin == Constraint::Begin::after_thought) phase_ = Phase::thinking;
  if (constraint.begin == Constraint::Begin::after_any_thought) phase_ = Phase::deciding;
}

bool ConstraintState::is_stop(int32_t token) const {
  return std::ranges::find(stop_tokens_, token) != stop_tokens_.end();
}

std::span<const uint64_t> ConstraintState::allowed() {
  const TokenVocabulary& vocabulary = constraint_.masks->vocabulary();
  mask_.assign(vocabulary.words(), 0);
  if (!failed_.empty()) return mask_;
  try {
    if (phase_ == Phase::thinking) {
      allow_thought_tokens();
    } else {
      mask_ = *constraint_.masks->mask(state_);
      if (phase_ == Phase::deciding) allow_opening_tokens();
    }
  } catch (const Error& error) {
    failed_ = error.what();
    mask_.assign(vocabulary.words(), 0);
    return mask_;
  }
  for (const int32_t token : stop_tokens_) {
    if (token >= 0 && token < vocabulary.size()) set_bit(mask_, token, is_complete());
  }
  return mask_;
}

// Allows every token, except those that end the thought and go on as no answer may begin.
void ConstraintState::allow_thought_tokens() {
  const TokenVocabulary& vocabulary = constraint_.masks->vocabulary();
  std::ranges::fill(mask_, ~uint64_t{0});
  if (vocabulary.size() % 64 != 0) mask_.back() = (uint64_t{1} << (vocabulary.size() % 64)) - 1;
  for (const int32_t token : vocabulary.tag_ends()) {
    const std::string text = tail_ + std::string(vocabulary.bytes(token));
    const size_t at = text.find(kThinkClose);
    if (at == std::string::npos) continue;
    GrammarState state = state_;
    set_bit(mask_, token, state.accept(std::string_view(text).substr(at + kThinkClose.size())));
  }
}

// Allows the tokens that begin, go on with, or complete <think>.
void ConstraintState::allow_opening_tokens() {
  const TokenVocabulary& vocabulary = constraint_.masks->vocabulary();
  const std::string_view rest = kThinkOpen.substr(opening_.size());
  for (int32_t token = 0; token < vocabulary.size(); ++token) {
    const std::string_view bytes = vocabulary.bytes(token);
    if (!bytes.empty() && (bytes.starts_with(rest) || rest.starts_with(bytes))) set_bit(mask_, token, true);
  }
}

void ConstraintState::add(int32_t token) {
  if (is_stop(token) || !failed_.empty()) return;
  const std::string_view bytes = constraint_.masks->vocabulary().bytes(token);
  try {
    switch (phase_) {
      case Phase::thinking:
        think(bytes);
        break;
      case Phase::answering:
        answer(bytes);
        break;
      case Phase::deciding: {
        opening_ += bytes;
        if (opening_.starts_with(kThinkOpen)) {
          phase_ = Phase::thinking;
          think(std::string_view(opening_).substr(kThinkOpen.size()));
        } else {
          if (!kThinkOpen.starts_with(opening_)) phase_ = Phase::answering;
          state_.accept(bytes);
        }
        break;
      }
    }
  } catch (const Error& error) {
    failed_ = error.what();
  }
}

void ConstraintState::think(std::string_view text) {
  tail_ += text;
  const size_t at = tail_.find(kThinkClose);
  if (at == std::string::npos) {
    tail_.erase(0, tail_.size() - begun_tag(tail_, kThinkClose));
    return;
  }
  phase_ = Phase::answering;
  // A state that read "<" for the beginning of an answer starts again.
  if (constraint_.begin == Constraint::Begin::after_any_thought)
    state_ = GrammarState(constraint_.masks->grammar(), true);
  answer(std::string_view(tail_).substr(at + kThinkClose.size()));
}

void ConstraintState::answer(std::string_view text) {
  state_.accept(text);
}

bool ConstraintState::is_complete() const {
  return failed_.empty() && phase_ != Phase::thinking && state_.is_complete();
}

bool ConstraintState::must_end() const {
  return is_complete() && !state_.can_continue();
}

bool ConstraintState::allows_none() const {
  return std::ranges::all_of(mask_, [](uint64_t word) { return word == 0; });
}

std::string ConstraintState::why() const {
  if (!failed_.empty()) return failed_;
  return constraint_.masks->grammar()->program().source +
         ": no token of the model's vocabulary can go on with the text";
}

}  // namespace r1
