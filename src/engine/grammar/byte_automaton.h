// engine/grammar/byte_automaton.h: deterministic finite automata: over code points, as they are made, and
// over the bytes of UTF-8, as they run.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace r1 {

// Code points first .. last. A set is a sorted list of ranges that neither overlap nor touch.
struct CodeRange {
  uint32_t first = 0, last = 0;
  auto operator<=>(const CodeRange&) const = default;
};
using CodeSet = std::vector<CodeRange>;

inline constexpr uint32_t kLastCode = 0x10FFFF;

// Sorts ranges and joins those that overlap or touch. Surrogates, which UTF-8 cannot write, are left out.
CodeSet code_set(std::vector<CodeRange> ranges);
CodeSet code_complement(const CodeSet& set);
CodeSet code_intersection(const CodeSet& a, const CodeSet& b);
bool contains_code(const CodeSet& set, uint32_t code);

// State 0 is the beginning. The edges of a state are sorted and do not overlap.
struct CodeAutomaton {
  struct Edge {
    uint32_t first = 0, last = 0;
    int32_t next = 0;
    bool operator==(const Edge&) const = default;
  };
  struct State {
    std::vector<Edge> edges;
    bool accepts = false;
  };
  std::vector<State> states;
};

// An automaton over bytes. Every state leads to an accepting one.
struct ByteAutomaton {
  struct Edge {
    uint8_t first = 0, last = 0;
    int32_t next = 0;
    auto operator<=>(const Edge&) const = default;
  };
  std::vector<uint32_t> starts;  // the edges of state s are edges[starts[s]] .. edges[starts[s + 1] - 1]
  std::vector<Edge> edges;       // of a state: sorted
  std::vector<bool> accepts;

  int32_t size() const { return static_cast<int32_t>(accepts.size()); }
  std::span<const Edge> edges_of(int32_t state) const {
    return std::span(edges).subspan(
        starts[static_cast<size_t>(state)],
        starts[static_cast<size_t>(state) + 1] - starts[static_cast<size_t>(state)]);
  }
  bool accepts_at(int32_t state) const { return accepts[static_cast<size_t>(state)]; }
};

// Returns the automaton over the bytes of UTF-8. States from which no end can be reached are left out, except
// the beginning: an automaton that accepts nothing is one state without edges.
ByteAutomaton to_bytes(const CodeAutomaton& automaton);
// One character of the set.
ByteAutomaton one_of(const CodeSet& set);
// Exactly these bytes; at least one.
ByteAutomaton exactly(std::string_view bytes);
// Any bytes, also none, in which `word` (at least one byte) does not occur. They need not be UTF-8.
ByteAutomaton bytes_without(std::string_view word);

}  // namespace r1
