// engine/grammar/grammar.h: which texts an answer may be: a grammar in GBNF (gbnf.h) or a JSON Schema
// (json_schema.h), as an automaton over bytes.
//
// A grammar is compiled once, is immutable and shared, and is safe to use from many threads. Its states are
// found as they are needed and kept, so that a byte usually costs one look-up. Grammars that recurse at their
// beginning, that can never end, or that are too large are refused when they are compiled; the memory that
// states take is bounded.
//
//   auto grammar = Grammar::from_gbnf("root ::= \"yes\" | \"no\"", "answer.gbnf");
//   GrammarState state(grammar);
//   state.accept("ye");       // true; bytes may be cut anywhere, also inside a character
//   state.is_complete();      // false: "ye" is no whole text of the grammar
//   state.can_continue();     // true
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace r1 {

struct GrammarProgram;  // program.h
struct GrammarRules;    // rules.h
class GrammarStates;    // states.h

class Grammar {
 public:
  // Compiles a grammar in GBNF. Throws Error "SOURCE:LINE: reason" for bad syntax, and "SOURCE: reason" if
  // the grammar as a whole cannot be used.
  static std::shared_ptr<const Grammar> from_gbnf(std::string_view text, const std::string& source);
  // Compiles a JSON Schema (json_schema.h). Throws Error "SOURCE: schema PLACE: reason".
  static std::shared_ptr<const Grammar> from_json_schema(const Json& schema, const std::string& source,
                                                         bool exact = false);
  // Any JSON object, without free white space.
  static std::shared_ptr<const Grammar> json_object();
  // The texts that `rules` derive. Throws Error "SOURCE: reason".
  static std::shared_ptr<const Grammar> from_rules(const GrammarRules& rules, const std::string& source);

  explicit Grammar(std::unique_ptr<const GrammarProgram> program);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  const GrammarProgram& program() const { return *program_; }
  // The table of states that new states belong to. A table that has reached its bound is replaced; it lives
  // as long as a state that is in it.
  std::shared_ptr<GrammarStates> states() const;

 private:
  std::unique_ptr<const GrammarProgram> program_;
  struct Current;
  std::unique_ptr<Current> current_;
};

// Where a text is in its grammar. A value: copies go their own ways. One state is for one thread at a time.
class GrammarState {
 public:
  // The beginning of a text. `after_lines`: the text may come after up to two line feeds, which models write
  // behind a thought.
  explicit GrammarState(std::shared_ptr<const Grammar> grammar, bool after_lines = false);

  // Takes the next bytes of the text. Returns false if no text of the grammar goes on like this; the state is
  // then dead, and stays so. Throws Error if the grammar is so ambiguous that its states pass the bound.
  bool accept(std::string_view bytes);
  bool is_complete() const;   // the bytes so far are a whole text of the grammar
  bool can_continue() const;  // at least one more byte may follow
  bool is_dead() const;       // no text of the grammar begins with the bytes

  const Grammar& grammar() const { return *grammar_; }
  // For token_masks.cc: the table, and the state's number in it.
  const std::shared_ptr<GrammarStates>& states() const { return states_; }
  int32_t number() const { return number_; }

 private:
  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<GrammarStates> states_;
  int32_t number_ = 0;
};

}  // namespace r1
