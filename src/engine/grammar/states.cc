#include "engine/grammar/states.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"

namespace r1 {
namespace {

constexpr int32_t kTextEnds = -1;  // the position that waits behind the root
constexpr int32_t kRootNode = 0;

uint64_t hash_places(std::span<const GrammarPlace> places, bool complete) {
  uint64_t hash = complete ? 0x9E3779B97F4A7C15u : 0xD1B54A32D192ED03u;
  const auto mix = [&](uint64_t value) {
    hash = (hash ^ value) * 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 29;
  };
  for (const GrammarPlace& place : places) {
    mix(static_cast<uint64_t>(static_cast<uint32_t>(place.position)) << 32 | place.progress);
    mix(static_cast<uint32_t>(place.node));
  }
  return hash;
}

int32_t step_automaton(const ByteAutomaton& automaton, uint32_t state, uint8_t byte) {
  const auto edges = automaton.edges_of(static_cast<int32_t>(state));
  const auto at = std::ranges::upper_bound(edges, byte, {}, &ByteAutomaton::Edge::first);
  return at != edges.begin() && byte <= std::prev(at)->last ? std::prev(at)->next : -1;
}

}  // namespace

// Finds everything that may come next from some places without reading a byte.
//
// Places that the last byte led to are followed first: they may end rules, and so lead to the places that wait
// for these. Then the rules that were called are entered in the order of their ranks, each once with all of its
// callers. A rule that is entered here cannot end here: a caller steps over a rule that may be empty itself.
class GrammarClosure {
 public:
  explicit GrammarClosure(GrammarStates& states) : states_(states), program_(states.program_) {}

  void add(const GrammarPlace& place) {
    if (!seen_.insert(place).second) return;
    work_.push_back(place);
    if (seen_.size() > 4 * GrammarStates::kMostPlaces) refuse();
  }
  void call(int32_t rule, const GrammarPlace& waiting) {
    auto& callers = called_[{program_.rules[static_cast<size_t>(rule)].rank, rule}];
    callers.push_back(waiting);
    if (callers.size() > 4 * GrammarStates::kMostPlaces) refuse();
  }
  void set_complete() { complete_ = true; }

  int32_t finish() {
    follow();
    entering_ = true;
    while (!called_.empty()) {
      const auto first = called_.begin();
      const int32_t rule = first->first.second;
      std::vector<GrammarPlace> callers = std::move(first->second);
      called_.erase(first);
      const int32_t node = states_.node_of(unique(callers));
      for (const int32_t position : program_.rules[static_cast<size_t>(rule)].alternatives)
        add({position, 0, node});
      follow();
    }
    states_.work_ += seen_.size() + 1;
    return states_.state_of(unique(found_), complete_);
  }

 private:
  [[noreturn]] void refuse() const {
    throw Error(
        fmt::format("{}: the grammar is too ambiguous: a text can be read in more than {} ways at once",
                    program_.source, GrammarStates::kMostPlaces));
  }

  std::span<const GrammarPlace> unique(std::vector<GrammarPlace>& places) const {
    std::ranges::sort(places);
    const auto rest = std::ranges::unique(places);
    places.erase(rest.begin(), rest.end());
    if (places.size() > GrammarStates::kMostPlaces) refuse();
    return places;
  }

  void follow() {
    while (!work_.empty()) {
      const GrammarPlace place = work_.back();
      work_.pop_back();
      if (place.position == kTextEnds) {
        complete_ = true;
        continue;
      }
      const GrammarOperation& operation = program_.operations[static_cast<size_t>(place.position)];
      switch (operation.kind) {
        case GrammarOperation::Kind::scan:
          scan(place, operation);
          break;
        case GrammarOperation::Kind::call:
          enter(operation.target, {place.position + 1, 0, place.node});
          if (program_.rules[static_cast<size_t>(operation.target)].nullable)
            add({place.position + 1, 0, place.node});
          break;
        case GrammarOperation::Kind::repeat:
          repeat(place, operation);
          break;
        case GrammarOperation::Kind::end:
          if (!entering_) end(place.node);
          break;
      }
    }
  }

  // `progress` is the automaton's state. Its end was noted when the state was reached.
  void scan(const GrammarPlace& place, const GrammarOperation& operation) {
    const ByteAutomaton& automaton = program_.automata[static_cast<size_t>(operation.target)];
    const auto state = static_cast<int32_t>(place.progress);
    if (!automaton.edges_of(state).empty()) found_.push_back(place);
    if (automaton.accepts_at(state)) add({place.position + 1, 0, place.node});
  }

  void repeat(const GrammarPlace& place, const GrammarOperation& operation) {
    if (place.progress >= operation.min) add({place.position + 1, 0, place.node});
    if (place.progress >= operation.max) return;
    // Without a maximum, numbers from the minimum on are alike.
    const bool counts = operation.max != GrammarItem::kNoMaximum || place.progress < operation.min;
    enter(operation.target, {place.position, place.progress + (counts ? 1 : 0), place.node});
  }

  // Calls a rule. What waits for it is `waiting`, or, if that is the end of its own rule, what waits for this.
  void enter(int32_t rule, const GrammarPlace& waiting) {
    if (program_.operations[static_cast<size_t>(waiting.position)].kind != GrammarOperation::Kind::end) {
      call(rule, waiting);
      return;
    }
    for (const GrammarPlace& outer : states_.node_places(waiting.node)) call(rule, outer);
  }

  void end(int32_t node) {
    for (const GrammarPlace& waiting : states_.node_places(node)) add(waiting);
  }

  GrammarStates& states_;
  const GrammarProgram& program_;
  std::set<GrammarPlace> seen_;
  std::vector<GrammarPlace> work_, found_;
  std::map<std::pair<int32_t, int32_t>, std::vector<GrammarPlace>> called_;  // by rank and rule
  bool entering_ = false;
  bool complete_ = false;
};

GrammarStates::GrammarStates(const GrammarProgram& program) : program_(program) {
  const GrammarPlace end{kTextEnds, 0, kRootNode};
  node_of({&end, 1});
  state_of({}, false);
}

int32_t GrammarStates::start(bool lines) {
  const int32_t rule = lines ? program_.with_lines : program_.root;
  GrammarClosure closure(*this);
  closure.call(rule, {kTextEnds, 0, kRootNode});
  if (program_.rules[static_cast<size_t>(rule)].nullable) closure.set_complete();
  return closure.finish();
}

int32_t GrammarStates::find_next(int32_t state, int32_t byte_class) {
  const uint8_t byte = program_.byte_of_class[static_cast<size_t>(byte_class)];
  GrammarClosure closure(*this);
  for (const GrammarPlace& place : places(state)) {
    const GrammarOperation& operation = program_.operations[static_cast<size_t>(place.position)];
    const int32_t next =
        step_automaton(program_.automata[static_cast<size_t>(operation.target)], place.progress, byte);
    if (next >= 0) closure.add({place.position, static_cast<uint32_t>(next), place.node});
  }
  const int32_t found = closure.finish();
  next_[static_cast<size_t>(state)][byte_class] = found;
  return found;
}

void GrammarStates::grow(size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kMostBytes) {
    throw Error(fmt::format("{}: the grammar is too ambiguous: its states need more than {} MiB",
                            program_.source, kMostBytes >> 20));
  }
}

std::span<const GrammarPlace> GrammarStates::places(int32_t state) const {
  const Stretch& s = states_[static_cast<size_t>(state)];
  return std::span(state_pool_).subspan(s.first, s.count);
}

std::span<const GrammarPlace> GrammarStates::node_places(int32_t node) const {
  const Stretch& n = nodes_[static_cast<size_t>(node)];
  return std::span(node_pool_).subspan(n.first, n.count);
}

int32_t GrammarStates::node_of(std::span<const GrammarPlace> sorted) {
  const uint64_t hash = hash_places(sorted, false);
  const auto [begin, end] = node_index_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    if (std::ranges::equal(node_places(at->second), sorted)) return at->second;
  }
  grow(sorted.size_bytes() + sizeof(Stretch) + 48);
  const auto number = static_cast<int32_t>(nodes_.size());
  nodes_.push_back(
      {.first = static_cast<uint32_t>(node_pool_.size()), .count = static_cast<uint32_t>(sorted.size())});
  node_pool_.insert(node_pool_.end(), sorted.begin(), sorted.end());
  node_index_.emplace(hash, number);
  return number;
}

int32_t GrammarStates::state_of(std::span<const GrammarPlace> sorted, bool complete) {
  const uint64_t hash = hash_places(sorted, complete);
  const auto [begin, end] = state_index_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    if (is_complete(at->second) == complete && std::ranges::equal(places(at->second), sorted))
      return at->second;
  }
  const auto classes = static_cast<size_t>(program_.classes);
  grow(sorted.size_bytes() + sizeof(Stretch) + 64 + classes * sizeof(int32_t));
  const auto number = static_cast<int32_t>(states_.size());
  states_.push_back({.first = static_cast<uint32_t>(state_pool_.size()),
                     .count = static_cast<uint32_t>(sorted.size()),
                     .complete = complete});
  state_pool_.insert(state_pool_.end(), sorted.begin(), sorted.end());
  state_index_.emplace(hash, number);
  next_.push_back(std::make_unique<int32_t[]>(classes));
  std::fill_n(next_.back().get(), classes, sorted.empty() ? kDead : -1);
  return number;
}

int32_t GrammarStates::import_node(const GrammarStates& from, int32_t node,
                                   std::map<int32_t, int32_t>& done) {
  // Nodes are older, and so have lower numbers, than those that refer to them.
  std::set<int32_t> needed{node};
  std::vector<int32_t> work{node};
  while (!work.empty()) {
    const int32_t n = work.back();
    work.pop_back();
    for (const GrammarPlace& place : from.node_places(n)) {
      if (!done.contains(place.node) && needed.insert(place.node).second) work.push_back(place.node);
    }
  }
  for (const int32_t n : needed) {
    if (done.contains(n)) continue;
    if (n == kRootNode) {
      done[n] = kRootNode;
      continue;
    }
    std::vector<GrammarPlace> places(from.node_places(n).begin(), from.node_places(n).end());
    for (GrammarPlace& place : places) place.node = done.at(place.node);
    std::ranges::sort(places);
    done[n] = node_of(places);
  }
  return done.at(node);
}

int32_t GrammarStates::import(const GrammarStates& from, int32_t state) {
  std::map<int32_t, int32_t> done;
  std::vector<GrammarPlace> own(from.places(state).begin(), from.places(state).end());
  for (GrammarPlace& place : own) place.node = import_node(from, place.node, done);
  std::ranges::sort(own);
  return state_of(own, from.is_complete(state));
}

}  // namespace r1
