// engine/grammar/rules.h: a grammar as rules, the form that GBNF and JSON Schema are read into.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/grammar/byte_automaton.h"

namespace r1 {

// A part of an alternative: bytes that an automaton accepts, a rule, or a rule repeated.
struct GrammarItem {
  enum class Kind : uint8_t { scan, call, repeat };
  static constexpr uint32_t kNoMaximum = UINT32_MAX;

  Kind kind = Kind::call;
  int32_t target = 0;         // scan: the automaton; otherwise the rule
  uint32_t min = 1, max = 1;  // repeat: how often
};

using GrammarAlternative = std::vector<GrammarItem>;  // in order; empty: the empty text

struct GrammarRule {
  std::string name = {};  // of a part of a rule: the rule's name
  std::vector<GrammarAlternative> alternatives = {};
};

// A grammar has more parts than GrammarRules::kMaxItems.
class GrammarTooLarge : public Error {
 public:
  using Error::Error;
};

// Rule 0 is the root.
struct GrammarRules {
  std::vector<GrammarRule> rules = {};
  std::vector<ByteAutomaton> automata = {};

  // Bounds what a hostile grammar may take.
  static constexpr size_t kMaxItems = 1'000'000;

  int32_t add_rule(std::string name);
  void add_alternative(int32_t rule, GrammarAlternative alternative);
  // Items. Equal texts and equal sets share their automaton.
  GrammarItem text(std::string_view bytes);  // at least one byte
  GrammarItem set(const CodeSet& set);
  GrammarItem scan(ByteAutomaton automaton);
  static GrammarItem call(int32_t rule) { return {.kind = GrammarItem::Kind::call, .target = rule}; }
  // `item` from min to max times.
  GrammarItem repeat(const GrammarItem& item, uint32_t min, uint32_t max, const std::string& name);
  // The rules of another grammar, as a part of this one: a call of its root.
  GrammarItem embed(const GrammarRules& other);
  // One of the alternatives, as a rule of its own.
  GrammarItem one_of_these(std::vector<GrammarAlternative> alternatives, const std::string& name);

 private:
  void count(size_t items);
  size_t items_ = 0;
  std::map<std::string, int32_t, std::less<>> texts_;
  std::map<CodeSet, int32_t> sets_;
};

}  // namespace r1
