// engine/lookahead.h: guesses of a sequence's next tokens, which are computed together with its last one.
//
// There are two sources. Prompt look-up: if the last tokens have occurred before, what followed them there is
// the guess. If they have not, the model's MTP head guesses, if it has one (engine/head_guesser.h). A step
// computes the keys and logits of the guesses with those of the last token. Each later step still draws one
// token, by the same rules and random numbers. If it is the guessed one, its keys and logits are there
// already, and they are the bits that a forward of that token alone would give; if not, the guesses are
// dropped. So guesses change the time of a sample and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "tensor/tensor.h"

namespace r1 {

// Returns at most `most` tokens that followed the longest earlier occurrence of the last tokens (at least 2,
// of equally long ones the latest); empty if there is none.
std::span<const int32_t> look_up(std::span<const int32_t> tokens, int64_t most);

enum class GuessSource : uint8_t { look_up, head };

struct GuessCounts {
  int64_t guessed = 0, accepted = 0;  // tokens so far
  GuessCounts operator-(const GuessCounts& o) const { return {guessed - o.guessed, accepted - o.accepted}; }
};
struct LookaheadCounts {
  GuessCounts look_up, head;
  GuessCounts total() const { return {look_up.guessed + head.guessed, look_up.accepted + head.accepted}; }
  LookaheadCounts operator-(const LookaheadCounts& o) const { return {look_up - o.look_up, head - o.head}; }
  GuessCounts& of(GuessSource source) { return source == GuessSource::look_up ? look_up : head; }
};

// The guesses of the sequences in progress, and their logits.
class Lookahead {
 public:
  // `most`: guesses per step and sequence, 0 for none.
  explicit Lookahead(int64_t most) : most_(most) {}
  bool is_on() const { return most_ > 0; }
  const LookaheadCounts& counts() const { return counts_; }

  // Makes guesses by look-up for rows that decode and have none, within the pages that their sequences hold.
  // Sequences whose guesses were wrong of late get fewer, or none for some steps. Returns for each row the
  // most tokens that the MTP head may guess; 0 if look-up has found something.
  std::vector<int64_t> guess(std::span<ScheduledRow> rows);
  // The row has these guesses of the MTP head, of which there is at least one.
  void guess_by_head(ScheduledRow& row, std::span<const int32_t> guesses);
  // Returns the place for the logits [guesses, V] of a row's guesses, which the caller fills.
  Tensor keep(const ScheduledRow& row, int64_t vocab, Memory& memory);
  // Returns the logits [1, V] that the row would compute, if its token is the next guess; an empty tensor if
  // they are not there. Guesses that turned out wrong are dropped.
  Tensor take(const ScheduledRow& row);
  // Frees the memory of guesses that are not in use. Called while no guesses are made.
  void rest();

  void drop(const Sequence& sequence) { kept_.erase(key_of(sequence)); }
  void drop(int64_t group);

 private:
  using Key = std::pair<int64_t, int64_t>;  // request, sample
  // The number of guesses that a source makes for a sequence, and its pauses.
  struct Pace {
    int64_t size = 0;   // of the next guess
    int64_t pause = 0;  // forwards without guesses, still to come
    int64_t wrong = 0;  // guesses in a row of which nothing was right
  };
  struct Kept {
    std::vector<int32_t> guesses;  // those of the last forward
    GuessSource source = GuessSource::look_up;
    int64_t first = 0;   // the position of the first of them
    int64_t used = 0;    // that were right
    bool judged = true;  // the first wrong one, or the end, was seen
    Buffer logits;
    Pace look_up, head;
  };
  static Key key_of(const Sequence& s) { return {s.group->id, s.sample}; }
  void judge(Kept& kept) const;
  void set(Kept& kept, ScheduledRow& row, GuessSource source, std::span<const int32_t> guesses);

  int64_t most_;
  std::map<Key, Kept> kept_;
  LookaheadCounts counts_;
};

}  // namespace r1
