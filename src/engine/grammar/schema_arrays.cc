// engine/grammar/schema_arrays.cc: arrays as rules: one for each number of items so far and each count of
// items that match "contains".
#include <fmt/format.h>

#include <algorithm>

#include "engine/grammar/schema_writer.h"

namespace r1 {

struct SchemaWriter::ArrayState {
  int64_t index = 0;            // items so far
  std::vector<int64_t> counts;  // of items that match, one for each demand that counts
  auto operator<=>(const ArrayState&) const = default;
};

struct SchemaWriter::ArrayShape {
  const SchemaDemands& branch;
  int64_t min = 0, max = INT64_MAX;
  int64_t special = 0;  // from this index on, all items are alike
  std::vector<CountedItems> counted;
  std::map<ArrayState, int32_t> rules;
  std::vector<std::pair<ArrayState, int32_t>> work;
};

namespace {

bool is_in_scope(const SchemaScopes& scopes, int32_t scope) {
  return std::ranges::find(scopes, scope) != scopes.end();
}

}  // namespace

SchemaGoal SchemaWriter::goal_of_item(const SchemaDemands& branch, int64_t index) {
  SchemaGoal goal;
  const auto is_prefix = [&](const ArrayDemand& array) { return index < std::ssize(array.prefix); };
  for (const ArrayDemand& array : branch.arrays) {
    if (is_prefix(array))
      goal.push_back(array.prefix[static_cast<size_t>(index)]);
    else if (array.rest)
      goal.push_back(*array.rest);
  }
  for (const UnevaluatedDemand& u : branch.unevaluated) {
    if (!u.items) continue;
    bool evaluated = std::ranges::any_of(branch.unevaluated, [&](const UnevaluatedDemand& inner) {
      return inner.items && is_in_scope(inner.outer, u.scope);
    });
    std::vector<SchemaLiteral> either{u.rest};
    for (const ArrayDemand& array : branch.arrays) {
      if (!is_in_scope(array.scopes, u.scope)) continue;
      evaluated = evaluated || is_prefix(array) || array.rest.has_value();
      if (array.counted) either.push_back(array.counted->item);
    }
    if (!evaluated) goal.push_back(terms_.any_of(either));
  }
  return goal;
}

int32_t SchemaWriter::array_rest(ArrayShape& shape, const ArrayState& state) {
  const auto [at, is_new] = shape.rules.emplace(state, 0);
  if (is_new) {
    count_states();
    at->second = rules_.add_rule("array");
    shape.work.emplace_back(state, at->second);
  }
  return at->second;
}

void SchemaWriter::write_array_state(ArrayShape& shape, const ArrayState& state, int32_t rule) {
  const GrammarItem space_or_none = space();
  const auto enough = [&](size_t c) { return state.counts[c] >= shape.counted[c].min; };
  bool may_end = state.index >= shape.min;
  for (size_t c = 0; c < shape.counted.size(); ++c) may_end = may_end && enough(c);
  if (shape.counted.empty() && state.index >= std::max<int64_t>(1, shape.special)) {
    const int64_t least = std::max<int64_t>(0, shape.min - state.index);
    const uint32_t most =
        shape.max == INT64_MAX ? GrammarItem::kNoMaximum : static_cast<uint32_t>(shape.max - state.index);
    const int32_t more = rules_.add_rule("array");
    rules_.add_alternative(
        more, {rules_.text(","), space_or_none, value_of(goal_of_item(shape.branch, state.index))});
    rules_.add_alternative(
        rule, {rules_.repeat(GrammarRules::call(more), static_cast<uint32_t>(least), most, "array"),
               space_or_none, rules_.text("]")});
    return;
  }
  if (may_end) rules_.add_alternative(rule, {space_or_none, rules_.text("]")});
  if (state.index >= shape.max) return;
  const SchemaGoal goal = goal_of_item(shape.branch, state.index);
  // Each demand that counts items gets two branches: the item matches it, or does not.
  std::vector<size_t> open;
  for (size_t c = 0; c < shape.counted.size(); ++c) {
    const CountedItems& counted = shape.counted[c];
    const bool counts = state.index >= counted.first && state.index <= counted.last;
    if (counts && (!enough(c) || counted.max != INT64_MAX)) open.push_back(c);
  }
  if (open.size() > 6) fail("more than 6 demands that count items are not supported together");
  for (size_t matching = 0; matching < size_t{1} << open.size(); ++matching) {
    ArrayState next = state;
    next.index =
        std::min(state.index + 1,
                 std::max({shape.special, shape.min, shape.max == INT64_MAX ? int64_t{1} : shape.max}));
    SchemaGoal own = goal;
    bool possible = true;
    for (size_t i = 0; i < open.size(); ++i) {
      const CountedItems& counted = shape.counted[open[i]];
      int64_t& count = next.counts[open[i]];
      if ((matching >> i & 1) != 0) {
        own.push_back(counted.item);
        ++count;
        if (counted.max == INT64_MAX) count = std::min(count, counted.min);
        possible = possible && count <= counted.max;
      } else if (counted.max != INT64_MAX) {
        own.push_back(SchemaTerms::negated(counted.item));
      }
    }
    if (!possible) continue;
    GrammarAlternative item;
    if (state.index > 0) item.push_back(rules_.text(","));
    item.insert(item.end(), {space_or_none, value_of(own), GrammarRules::call(array_rest(shape, next))});
    rules_.add_alternative(rule, std::move(item));
  }
}

void SchemaWriter::write_array(int32_t rule, const SchemaDemands& branch) {
  const bool unevaluated = std::ranges::any_of(branch.unevaluated, &UnevaluatedDemand::items);
  if (branch.arrays.empty() && !unevaluated) {
    rules_.add_alternative(rule, {named("array")});
    return;
  }
  ArrayShape shape{.branch = branch, .counted = {}, .rules = {}, .work = {}};
  for (const ArrayDemand& array : branch.arrays) {
    shape.min = std::max(shape.min, array.min);
    shape.max = std::min(shape.max, array.max);
    shape.special = std::max(shape.special, std::ssize(array.prefix));
    if (!array.counted) continue;
    shape.counted.push_back(*array.counted);
    if (array.counted->first > 0) shape.special = std::max(shape.special, array.counted->first);
    if (array.counted->last != INT64_MAX) shape.special = std::max(shape.special, array.counted->last + 1);
  }
  if (shape.min > shape.max) return;
  const int32_t first = array_rest(shape, {.index = 0, .counts = std::vector<int64_t>(shape.counted.size())});
  while (!shape.work.empty()) {
    const auto [state, made] = std::move(shape.work.back());
    shape.work.pop_back();
    write_array_state(shape, state, made);
  }
  rules_.add_alternative(rule, {rules_.text("["), GrammarRules::call(first)});
}

}  // namespace r1
