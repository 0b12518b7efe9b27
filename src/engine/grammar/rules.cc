#include "engine/grammar/rules.h"

#include <fmt/format.h>

#include "base/error.h"

namespace r1 {

void GrammarRules::count(size_t items) {
  items_ += items;
  if (items_ > kMaxItems) {
    throw GrammarTooLarge(fmt::format(
        "the grammar has more than {} parts; write shorter texts, fewer rules or smaller sets", kMaxItems));
  }
}

int32_t GrammarRules::add_rule(std::string name) {
  count(1);
  rules.push_back({.name = std::move(name), .alternatives = {}});
  return static_cast<int32_t>(rules.size()) - 1;
}

void GrammarRules::add_alternative(int32_t rule, GrammarAlternative alternative) {
  count(alternative.size() + 1);
  rules[static_cast<size_t>(rule)].alternatives.push_back(std::move(alternative));
}

GrammarItem GrammarRules::text(std::string_view bytes) {
  const auto at = texts_.find(bytes);
  if (at != texts_.end()) return {.kind = GrammarItem::Kind::scan, .target = at->second};
  const GrammarItem item = scan(exactly(bytes));
  texts_.emplace(bytes, item.target);
  return item;
}

GrammarItem GrammarRules::set(const CodeSet& set) {
  const auto at = sets_.find(set);
  if (at != sets_.end()) return {.kind = GrammarItem::Kind::scan, .target = at->second};
  const GrammarItem item = scan(one_of(set));
  sets_.emplace(set, item.target);
  return item;
}

GrammarItem GrammarRules::scan(ByteAutomaton automaton) {
  count(static_cast<size_t>(automaton.size()) + automaton.edges.size());
  automata.push_back(std::move(automaton));
  return {.kind = GrammarItem::Kind::scan, .target = static_cast<int32_t>(automata.size()) - 1};
}

GrammarItem GrammarRules::repeat(const GrammarItem& item, uint32_t min, uint32_t max,
                                 const std::string& name) {
  GrammarItem repeated{.kind = GrammarItem::Kind::repeat, .target = item.target, .min = min, .max = max};
  if (item.kind != GrammarItem::Kind::call) {
    repeated.target = add_rule(name);
    add_alternative(repeated.target, {item});
  }
  return repeated;
}

GrammarItem GrammarRules::embed(const GrammarRules& other) {
  const auto first_rule = static_cast<int32_t>(rules.size());
  const auto first_automaton = static_cast<int32_t>(automata.size());
  for (const ByteAutomaton& automaton : other.automata) scan(automaton);
  for (const GrammarRule& rule : other.rules) add_rule(rule.name);
  for (size_t r = 0; r < other.rules.size(); ++r) {
    for (GrammarAlternative alternative : other.rules[r].alternatives) {
      for (GrammarItem& item : alternative)
        item.target += item.kind == GrammarItem::Kind::scan ? first_automaton : first_rule;
      add_alternative(first_rule + static_cast<int32_t>(r), std::move(alternative));
    }
  }
  return call(first_rule);
}

GrammarItem GrammarRules::one_of_these(std::vector<GrammarAlternative> alternatives,
                                       const std::string& name) {
  if (alternatives.size() == 1 && alternatives[0].size() == 1) return alternatives[0][0];
  const int32_t rule = add_rule(name);
  for (GrammarAlternative& alternative : alternatives) add_alternative(rule, std::move(alternative));
  return call(rule);
}

}  // namespace r1
