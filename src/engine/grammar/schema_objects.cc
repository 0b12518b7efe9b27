// engine/grammar/schema_objects.cc: objects as rules: the properties that the schema names, in its order, each
// once; then others, by the classes of names that patterns tell apart.
#include <fmt/format.h>

#include <algorithm>

#include "engine/grammar/schema_writer.h"

namespace r1 {

struct SchemaWriter::ObjectState {
  size_t next = 0;         // the name that may come next; behind the last one, other names
  bool started = false;    // there is a property before
  int64_t count = 0;       // of properties, if they are counted
  uint32_t fulfilled = 0;  // bits: demands for some property
  auto operator<=>(const ObjectState&) const = default;
};

struct SchemaWriter::ObjectShape {
  struct Name {
    std::string text;
    bool required = false, forbidden = false;
  };
  struct Class {  // of names that the schema does not give
    CodeAutomaton language;
    std::vector<bool> matched;  // patterns of all demands, in order
    std::vector<bool> some;     // the names of demands for some property, in order
  };

  const SchemaDemands& branch;
  int64_t min = 0, max = INT64_MAX;
  bool counts = false;
  std::vector<Name> names;
  std::vector<Class> classes;
  std::vector<std::pair<SharedLanguage, SchemaLiteral>> some;
  std::map<ObjectState, int32_t> rules;
  std::vector<std::pair<ObjectState, int32_t>> work;
};

namespace {

bool counts_for(const SchemaScopes& scopes, int32_t scope) {
  return std::ranges::find(scopes, scope) != scopes.end();
}

}  // namespace

// `matched`: which patterns of the demands match the name. `name` is null for a name that the schema does not
// give.
SchemaGoal SchemaWriter::goal_of_name(const SchemaDemands& branch, const std::vector<bool>& matched,
                                      const std::string* name) {
  SchemaGoal goal;
  std::vector<bool> covered(branch.objects.size());
  size_t pattern = 0;
  for (size_t d = 0; d < branch.objects.size(); ++d) {
    const ObjectDemand& object = branch.objects[d];
    for (const auto& [property, schema] : object.properties) {
      if (name != nullptr && property == *name) goal.push_back(schema), covered[d] = true;
    }
    for (const auto& [language, schema] : object.patterns) {
      if (matched[pattern++]) goal.push_back(schema), covered[d] = true;
    }
    if (!covered[d] && object.additional) goal.push_back(*object.additional), covered[d] = true;
  }
  for (const UnevaluatedDemand& u : branch.unevaluated) {
    if (u.items) continue;
    bool evaluated = std::ranges::any_of(branch.unevaluated, [&](const UnevaluatedDemand& inner) {
      return !inner.items && counts_for(inner.outer, u.scope);
    });
    for (size_t d = 0; d < branch.objects.size(); ++d)
      evaluated = evaluated || (covered[d] && counts_for(branch.objects[d].scopes, u.scope));
    if (!evaluated) goal.push_back(u.rest);
  }
  return goal;
}

// Finds the names that the schema gives. Returns false if one is required and must not be there.
bool SchemaWriter::find_names(ObjectShape& shape) {
  const auto entry = [&](const std::string& text) -> ObjectShape::Name& {
    const auto at = std::ranges::find(shape.names, text, &ObjectShape::Name::text);
    return at != shape.names.end() ? *at : shape.names.emplace_back(ObjectShape::Name{.text = text});
  };
  for (const ObjectDemand& object : shape.branch.objects) {
    for (const auto& [name, schema] : object.properties) entry(name);
  }
  for (const ObjectDemand& object : shape.branch.objects) {
    for (const std::string& name : object.required) entry(name).required = true;
    for (const std::string& name : object.forbidden) entry(name).forbidden = true;
  }
  for (ObjectShape::Name& name : shape.names) {
    for (const ObjectDemand& object : shape.branch.objects) {
      if (object.names != nullptr && !accepts_text(*object.names, name.text)) name.forbidden = true;
    }
    if (name.required && name.forbidden) return false;
  }
  return true;
}

void SchemaWriter::find_classes(ObjectShape& shape) {
  const std::vector<ObjectDemand>& objects = shape.branch.objects;
  if (!reading_.exact) {
    const bool closes = std::ranges::any_of(objects, &ObjectDemand::closes);
    const bool open =
        std::ranges::any_of(
            objects, [](const ObjectDemand& o) { return o.additional || !o.patterns.empty() || o.some; }) ||
        std::ranges::any_of(shape.branch.unevaluated, [](const UnevaluatedDemand& u) { return !u.items; });
    if (closes && !open) return;
  }
  std::vector<std::string> given;
  for (const ObjectShape::Name& name : shape.names) given.push_back(name.text);
  CodeAutomaton others = given.empty() ? any_text() : complement_of(texts(given));
  for (const ObjectDemand& object : objects) {
    if (object.names != nullptr) others = intersection_of(others, *object.names);
  }
  std::vector<ObjectShape::Class> classes;
  if (!is_empty(others)) classes.push_back({.language = std::move(others), .matched = {}, .some = {}});
  const auto split = [&](const CodeAutomaton& language, std::vector<bool> ObjectShape::Class::*flags) {
    const CodeAutomaton outside = complement_of(language);
    std::vector<ObjectShape::Class> parts;
    for (const ObjectShape::Class& whole : classes) {
      for (const bool inside : {true, false}) {
        ObjectShape::Class part = whole;
        part.language = intersection_of(whole.language, inside ? language : outside);
        (part.*flags).push_back(inside);
        if (!is_empty(part.language)) parts.push_back(std::move(part));
      }
    }
    if (parts.size() > 64) fail("the patterns of names overlap in too many ways");
    classes = std::move(parts);
  };
  for (const ObjectDemand& object : objects) {
    for (const auto& [language, schema] : object.patterns) split(*language, &ObjectShape::Class::matched);
  }
  for (const auto& [language, schema] : shape.some) split(*language, &ObjectShape::Class::some);
  shape.classes = std::move(classes);
}

int32_t SchemaWriter::object_rest(ObjectShape& shape, const ObjectState& state) {
  const auto [at, is_new] = shape.rules.emplace(state, 0);
  if (is_new) {
    count_states();
    at->second = rules_.add_rule("object");
    shape.work.emplace_back(state, at->second);
  }
  return at->second;
}

// Writes a property with any of the ways to fulfil demands for some property.
void SchemaWriter::write_member(ObjectShape& shape, const ObjectState& state, int32_t rule, size_t next,
                                const GrammarItem& key, const SchemaGoal& goal,
                                const std::vector<bool>& some) {
  ObjectState after{.next = next, .started = true, .count = state.count, .fulfilled = state.fulfilled};
  if (shape.counts) {
    ++after.count;
    if (shape.max == INT64_MAX) after.count = std::min(after.count, shape.min);
    if (after.count > shape.max) return;
  }
  std::vector<size_t> open;
  for (size_t i = 0; i < some.size(); ++i) {
    if (some[i] && (state.fulfilled >> i & 1) == 0) open.push_back(i);
  }
  for (size_t chosen = 0; chosen < size_t{1} << open.size(); ++chosen) {
    SchemaGoal own = goal;
    ObjectState then = after;
    for (size_t i = 0; i < open.size(); ++i) {
      if ((chosen >> i & 1) == 0) continue;
      own.push_back(shape.some[open[i]].second);
      then.fulfilled |= uint32_t{1} << open[i];
    }
    GrammarAlternative member;
    if (state.started) member.push_back(rules_.text(","));
    member.insert(member.end(), {space(), key, rules_.text(":"), space(), value_of(own),
                                 GrammarRules::call(object_rest(shape, then))});
    rules_.add_alternative(rule, std::move(member));
  }
}

void SchemaWriter::write_object_state(ObjectShape& shape, const ObjectState& state, int32_t rule) {
  if (state.next < shape.names.size()) {
    const ObjectShape::Name& name = shape.names[state.next];
    if (!name.required) {
      ObjectState without = state;
      ++without.next;
      rules_.add_alternative(rule, {GrammarRules::call(object_rest(shape, without))});
    }
    if (name.forbidden) return;
    std::vector<bool> matched, some;
    for (const ObjectDemand& object : shape.branch.objects) {
      for (const auto& [language, schema] : object.patterns)
        matched.push_back(accepts_text(*language, name.text));
    }
    for (const auto& [language, schema] : shape.some) some.push_back(accepts_text(*language, name.text));
    write_member(shape, state, rule, state.next + 1, rules_.text(Json(name.text).dump()),
                 goal_of_name(shape.branch, matched, &name.text), some);
    return;
  }
  const uint32_t all = (uint32_t{1} << shape.some.size()) - 1;
  if (state.fulfilled == all && (!shape.counts || state.count >= shape.min))
    rules_.add_alternative(rule, {space(), rules_.text("}")});
  for (const ObjectShape::Class& names : shape.classes) {
    const GrammarItem key =
        shape.names.empty() && shape.classes.size() == 1 && names.language.states.size() == 1
            ? named("string")
            : rules_.scan(to_bytes(json_literals(names.language)));
    write_member(shape, state, rule, state.next, key, goal_of_name(shape.branch, names.matched, nullptr),
                 names.some);
  }
}

void SchemaWriter::write_object(int32_t rule, const SchemaDemands& branch) {
  const bool unevaluated =
      std::ranges::any_of(branch.unevaluated, [](const UnevaluatedDemand& u) { return !u.items; });
  if (branch.objects.empty() && !unevaluated) {
    rules_.add_alternative(rule, {named("object")});
    return;
  }
  ObjectShape shape{.branch = branch, .names = {}, .classes = {}, .some = {}, .rules = {}, .work = {}};
  for (const ObjectDemand& object : branch.objects) {
    shape.min = std::max(shape.min, object.min);
    shape.max = std::min(shape.max, object.max);
    if (object.some) shape.some.push_back(*object.some);
  }
  if (shape.some.size() > 6) fail("more than 6 demands for some property are not supported together");
  if (!find_names(shape)) return;
  find_classes(shape);
  shape.counts = shape.min > 0 || shape.max != INT64_MAX;
  const int64_t required = std::ranges::count_if(shape.names, &ObjectShape::Name::required);
  // Other names may repeat, and a name that is written twice is one property.
  if (!shape.classes.empty() && shape.min > required + 1)
    fail(fmt::format("minProperties {} is not supported where names are free; it must be at most {}",
                     shape.min, required + 1));
  const int32_t first = object_rest(shape, {});
  while (!shape.work.empty()) {
    const auto [state, made] = std::move(shape.work.back());
    shape.work.pop_back();
    write_object_state(shape, state, made);
  }
  rules_.add_alternative(rule, {rules_.text("{"), GrammarRules::call(first)});
}

}  // namespace r1
