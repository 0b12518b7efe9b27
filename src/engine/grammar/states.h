// engine/grammar/states.h: the states of a grammar's automaton, found as they are needed and kept.
//
// A state is a set of items, one for each way to read the text so far: the operation that reads the next
// byte, how far it is in it, and a node that says what comes after the rule that the operation is in. A node
// is the set of places that wait for the end of a rule: a stack whose equal parts are shared, as in
// generalised parsers (Tomita 1985; Scott and Johnstone 2010). Rules that were called at the same byte and
// that are the same rule share a node, so that ambiguity does not multiply items. A call that is the last
// part of its alternative waits in its caller's place, so that lists written with recursion at their end need
// no deeper stack per entry.
//
// Equal nodes and equal states are stored once and are numbers: so the states of texts that are in the same
// situation are the same, and what is known of one (its next states, its mask of tokens) serves for all.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/program.h"

namespace r1 {

// The place of one item or one waiting reader: operation `position`, `progress` in it (scan: the automaton's
// state; repeat: how often the rule was read, or the least number that matters), and the node behind it.
struct GrammarPlace {
  int32_t position = 0;
  uint32_t progress = 0;
  int32_t node = 0;
  auto operator<=>(const GrammarPlace&) const = default;
};

// A caller holds mutex() over a series of calls, because the states are shared by threads.
class GrammarStates {
 public:
  static constexpr int32_t kDead = 0;
  // A table of this many bytes is replaced by a new one before the next text goes on; one that reaches
  // kMostBytes within a single call, or a state with more than kMostPlaces places, is an Error.
  static constexpr size_t kFullBytes = size_t{48} << 20, kMostBytes = size_t{256} << 20;
  static constexpr size_t kMostPlaces = 16384;

  explicit GrammarStates(const GrammarProgram& program);

  std::mutex& mutex() { return mutex_; }
  // The state before the first byte; with `lines`, before up to two line feeds.
  int32_t start(bool lines);
  // Throws Error if the bounds are passed.
  int32_t next(int32_t state, uint8_t byte) {
    const int32_t known = next_[static_cast<size_t>(state)][program_.class_of[byte]];
    return known >= 0 ? known : find_next(state, program_.class_of[byte]);
  }
  bool is_complete(int32_t state) const { return states_[static_cast<size_t>(state)].complete; }
  bool can_continue(int32_t state) const { return states_[static_cast<size_t>(state)].count > 0; }
  bool is_full() const { return bytes_ > kFullBytes; }
  size_t bytes() const { return bytes_; }
  // Places that were followed so far, to find states. It measures time.
  size_t work() const { return work_; }

  // The items of a state.
  std::span<const GrammarPlace> places(int32_t state) const;
  // Returns the number that a state of another table of the same grammar has in this one.
  int32_t import(const GrammarStates& from, int32_t state);
  const GrammarProgram& program() const { return program_; }

 private:
  struct Stretch {  // of a pool
    uint32_t first = 0, count = 0;
    bool complete = false;
  };
  friend class GrammarClosure;

  int32_t find_next(int32_t state, int32_t byte_class);
  int32_t node_of(std::span<const GrammarPlace> sorted);
  int32_t state_of(std::span<const GrammarPlace> sorted, bool complete);
  int32_t import_node(const GrammarStates& from, int32_t node, std::map<int32_t, int32_t>& done);
  std::span<const GrammarPlace> node_places(int32_t node) const;
  void grow(size_t bytes);

  const GrammarProgram& program_;
  std::mutex mutex_;
  std::vector<GrammarPlace> node_pool_, state_pool_;
  std::vector<Stretch> nodes_, states_;
  std::unordered_multimap<uint64_t, int32_t> node_index_, state_index_;  // by hash
  std::vector<std::unique_ptr<int32_t[]>> next_;  // [classes] of a state; -1: not yet known
  size_t bytes_ = 0, work_ = 0;
};

}  // namespace r1
