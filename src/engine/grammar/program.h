// engine/grammar/program.h: a grammar's rules, checked and laid out for running.
//
// A rule's alternative is a run of operations that ends in `end`. Operations of all rules lie in one list; a
// place in it is a position. Rules that no text needs, and alternatives that can never end, are left out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/grammar/byte_automaton.h"
#include "engine/grammar/rules.h"

namespace r1 {

struct GrammarOperation {
  enum class Kind : uint8_t {
    scan,    // reads bytes of automaton `target`
    call,    // reads rule `target`
    repeat,  // reads rule `target` from min to max times
    end,     // of the alternative
  };
  Kind kind = Kind::end;
  int32_t target = 0;
  uint32_t min = 0, max = 0;  // repeat; the empty text counts as often as min wants
};

struct GrammarProgram {
  struct Rule {
    std::vector<int32_t> alternatives;  // positions
    bool nullable = false;              // derives the empty text
    // Rules that this rule may begin with have a higher rank.
    int32_t rank = 0;
  };

  std::string source;  // for errors
  std::vector<GrammarOperation> operations;
  std::vector<Rule> rules;
  std::vector<ByteAutomaton> automata;
  int32_t root = 0;        // rule
  int32_t with_lines = 0;  // rule: the root after up to two line feeds
  // Bytes that no automaton tells apart have the same class.
  std::array<uint8_t, 256> class_of{};
  int32_t classes = 0;
  std::vector<uint8_t> byte_of_class;  // one byte of each class
};

// The grammar has no text.
class NoText : public Error {
 public:
  using Error::Error;
};

// Throws Error "SOURCE: reason" if a rule begins with itself, and NoText if no text of the grammar ever ends.
std::unique_ptr<const GrammarProgram> compile_rules(GrammarRules rules, const std::string& source);

}  // namespace r1
