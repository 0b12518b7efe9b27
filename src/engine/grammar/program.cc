#include "engine/grammar/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace r1 {
namespace {

// Facts about every rule, found before the rules are laid out.
class RuleAnalysis {
 public:
  RuleAnalysis(const GrammarRules& rules, const std::string& source) : rules_(rules), source_(source) {
    find_users();
    productive_ = spread([&](const GrammarItem& item) { return item_ends(item); });
    if (!productive_[0]) {
      throw NoText(
          fmt::format("{}: rule \"{}\" never ends: each of its alternatives needs a rule that needs itself, "
                      "or a set without characters",
                      source, rules.rules[0].name));
    }
    nullable_ = spread([&](const GrammarItem& item) { return item_is_nullable(item); });
    find_reachable();
    rank_rules();
  }

  // Returns true if the alternative can end.
  bool ends(const GrammarAlternative& alternative) const {
    return std::ranges::all_of(alternative, [&](const GrammarItem& item) { return item_ends(item); });
  }
  bool productive(size_t rule) const { return productive_[rule]; }
  bool reachable(size_t rule) const { return reachable_[rule]; }
  bool nullable(size_t rule) const { return nullable_[rule]; }
  int32_t rank(size_t rule) const { return rank_[rule]; }

 private:
  static size_t rule_of(const GrammarItem& item) { return static_cast<size_t>(item.target); }
  const ByteAutomaton& automaton_of(const GrammarItem& item) const {
    return rules_.automata[static_cast<size_t>(item.target)];
  }

  bool item_ends(const GrammarItem& item) const {
    if (item.kind == GrammarItem::Kind::scan) {
      const ByteAutomaton& automaton = automaton_of(item);
      return automaton.accepts_at(0) || !automaton.edges_of(0).empty();
    }
    return (item.kind == GrammarItem::Kind::repeat && item.min == 0) || known_[rule_of(item)];
  }
  bool item_is_nullable(const GrammarItem& item) const {
    if (item.kind == GrammarItem::Kind::scan) return automaton_of(item).accepts_at(0);
    return (item.kind == GrammarItem::Kind::repeat && item.min == 0) || known_[rule_of(item)];
  }

  void find_users() {
    users_.resize(rules_.rules.size());
    for (size_t r = 0; r < rules_.rules.size(); ++r) {
      for (const GrammarAlternative& alternative : rules_.rules[r].alternatives) {
        for (const GrammarItem& item : alternative) {
          if (item.kind != GrammarItem::Kind::scan) users_[rule_of(item)].push_back(r);
        }
      }
    }
  }

  // Returns the rules that have an alternative all of whose items have a property, which items have because
  // of known_ rules.
  template <class Property>
  std::vector<bool> spread(const Property& property) {
    known_.assign(rules_.rules.size(), false);
    std::vector<size_t> work(rules_.rules.size());
    for (size_t r = 0; r < work.size(); ++r) work[r] = r;
    while (!work.empty()) {
      const size_t r = work.back();
      work.pop_back();
      if (known_[r]) continue;
      known_[r] = std::ranges::any_of(
          rules_.rules[r].alternatives,
          [&](const GrammarAlternative& alternative) { return std::ranges::all_of(alternative, property); });
      if (known_[r]) work.insert(work.end(), users_[r].begin(), users_[r].end());
    }
    return known_;
  }

  void find_reachable() {
    known_ = productive_;
    reachable_.assign(rules_.rules.size(), false);
    // The root, and the root after line feeds, which is the last but one.
    std::vector<size_t> work{0, rules_.rules.size() - 2};
    for (const size_t r : work) reachable_[r] = true;
    while (!work.empty()) {
      const size_t r = work.back();
      work.pop_back();
      for_each_item(r, false, [&](size_t rule) {
        if (!reachable_[rule]) reachable_[rule] = true, work.push_back(rule);
      });
    }
  }

  // Calls body with the rules that alternatives of a rule use; with `first`, only those they may begin with.
  template <class Body>
  void for_each_item(size_t rule, bool first, const Body& body) const {
    for (const GrammarAlternative& alternative : rules_.rules[rule].alternatives) {
      if (!ends(alternative)) continue;
      for (const GrammarItem& item : alternative) {
        const bool is_rule = item.kind != GrammarItem::Kind::scan;
        // A rule that never ends is allowed if it may only be repeated zero times.
        if (is_rule && item.max > 0 && productive_[rule_of(item)]) body(rule_of(item));
        const bool may_be_empty =
            is_rule ? nullable_[rule_of(item)] || (item.kind == GrammarItem::Kind::repeat && item.min == 0)
                    : automaton_of(item).accepts_at(0);
        if (first && !may_be_empty) break;
      }
    }
  }

  // Ranks the rules such that a rule has a lower rank than those it may begin with. Throws Error if a rule
  // may begin with itself.
  void rank_rules() {
    std::vector<int32_t> waits(rules_.rules.size(), 0);  // for so many rules that may begin with it
    for (size_t r = 0; r < rules_.rules.size(); ++r) {
      if (reachable_[r]) for_each_item(r, true, [&](size_t rule) { ++waits[rule]; });
    }
    rank_.assign(rules_.rules.size(), 0);
    std::vector<size_t> work;
    for (size_t r = 0; r < rules_.rules.size(); ++r) {
      if (reachable_[r] && waits[r] == 0) work.push_back(r);
    }
    int32_t rank = 0;
    while (!work.empty()) {
      const size_t r = work.back();
      work.pop_back();
      rank_[r] = rank++;
      for_each_item(r, true, [&](size_t rule) {
        if (--waits[rule] == 0) work.push_back(rule);
      });
    }
    if (rank != std::ranges::count(reachable_, true)) refuse_left_recursion(waits);
  }

  // Names a rule of a circle: every rule that still waits is begun by another one that does.
  [[noreturn]] void refuse_left_recursion(const std::vector<int32_t>& waits) const {
    std::vector<size_t> begun_by(waits.size());
    size_t at = 0;
    for (size_t r = 0; r < waits.size(); ++r) {
      if (!reachable_[r] || waits[r] == 0) continue;
      at = r;
      for_each_item(r, true, [&](size_t rule) { begun_by[rule] = r; });
    }
    for (size_t i = 0; i < waits.size(); ++i) at = begun_by[at];
    throw Error(
        fmt::format("{}: rule \"{}\" can begin with itself (left recursion); write it with *, + or {{m,n}}, "
                    "or with the recursion at the end",
                    source_, rules_.rules[at].name));
  }

  const GrammarRules& rules_;
  const std::string& source_;
  std::vector<std::vector<size_t>> users_;
  std::vector<bool> known_, productive_, nullable_, reachable_;
  std::vector<int32_t> rank_;
};

void find_byte_classes(GrammarProgram& program) {
  std::array<bool, 257> starts{};
  starts[0] = true;
  for (const ByteAutomaton& automaton : program.automata) {
    for (const ByteAutomaton::Edge& edge : automaton.edges) starts[edge.first] = starts[edge.last + 1] = true;
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (starts[static_cast<size_t>(byte)]) program.byte_of_class.push_back(static_cast<uint8_t>(byte));
    program.class_of[static_cast<size_t>(byte)] = static_cast<uint8_t>(program.byte_of_class.size() - 1);
  }
  program.classes = static_cast<int32_t>(program.byte_of_class.size());
}

}  // namespace

std::unique_ptr<const GrammarProgram> compile_rules(GrammarRules rules, const std::string& source) {
  const int32_t with_lines = rules.add_rule(rules.rules[0].name);
  rules.add_alternative(with_lines,
                        {rules.repeat(rules.text("\n"), 0, 2, rules.rules[0].name), GrammarRules::call(0)});
  const RuleAnalysis analysis(rules, source);
  auto program = std::make_unique<GrammarProgram>();
  program->source = source;
  program->with_lines = with_lines;
  program->rules.resize(rules.rules.size());
  for (size_t r = 0; r < rules.rules.size(); ++r) {
    GrammarProgram::Rule& rule = program->rules[r];
    rule.nullable = analysis.nullable(r);
    rule.rank = analysis.rank(r);
    if (!analysis.reachable(r)) continue;
    for (const GrammarAlternative& alternative : rules.rules[r].alternatives) {
      if (!analysis.ends(alternative)) continue;
      rule.alternatives.push_back(static_cast<int32_t>(program->operations.size()));
      for (const GrammarItem& item : alternative) {
        GrammarOperation operation{
            .kind = GrammarOperation::Kind::scan, .target = item.target, .min = item.min, .max = item.max};
        if (item.kind == GrammarItem::Kind::call) operation.kind = GrammarOperation::Kind::call;
        if (item.kind == GrammarItem::Kind::repeat) {
          // The item is empty if it may only be repeated zero times or if its rule never ends.
          if (item.max == 0 || !analysis.productive(static_cast<size_t>(item.target))) continue;
          operation.kind = GrammarOperation::Kind::repeat;
          if (analysis.nullable(static_cast<size_t>(item.target))) operation.min = 0;
        }
        program->operations.push_back(operation);
      }
      program->operations.push_back({});
    }
  }
  program->automata = std::move(rules.automata);
  find_byte_classes(*program);
  return program;
}

}  // namespace r1
