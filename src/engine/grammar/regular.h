// engine/grammar/regular.h: regular languages over code points, as deterministic automata: the strings and
// numbers that a JSON Schema allows. Every operation returns an automaton without dead states, so that an
// empty language has no edges and accepts nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/byte_automaton.h"

namespace r1 {

// Bounds time and memory; an operation that passes it throws Error.
inline constexpr size_t kMaxRegularStates = 20'000;

CodeAutomaton any_text();
CodeAutomaton no_text();
CodeAutomaton texts(std::span<const std::string> list);  // UTF-8
// Texts of min to max characters; max UINT32_MAX: no bound.
CodeAutomaton length_between(uint32_t min, uint32_t max);

CodeAutomaton complement_of(const CodeAutomaton& a);
CodeAutomaton intersection_of(const CodeAutomaton& a, const CodeAutomaton& b);
CodeAutomaton union_of(const CodeAutomaton& a, const CodeAutomaton& b);
bool is_empty(const CodeAutomaton& a);
bool accepts_text(const CodeAutomaton& a, std::string_view utf8);

// A nondeterministic automaton, as patterns are read into it. State 0 is the beginning.
struct CodeNondeterministic {
  struct State {
    std::vector<std::pair<CodeSet, int32_t>> edges;
    std::vector<int32_t> free;  // reached without a character
    bool accepts = false;
  };
  std::vector<State> states;
};
CodeAutomaton determinize(const CodeNondeterministic& automaton);

// The JSON string literals of a language's texts, quotes included. Quotes, backslashes and control characters
// are written with the shortest escape (\" \\ \b \f \n \r \t \u00XX), everything else as it is.
CodeAutomaton json_literals(const CodeAutomaton& a);

}  // namespace r1
