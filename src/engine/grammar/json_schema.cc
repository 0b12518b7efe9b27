#include "engine/grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/json_grammar.h"
#include "engine/grammar/number_language.h"
#include "engine/grammar/program.h"
#include "engine/grammar/schema_writer.h"

namespace r1 {
namespace {

constexpr size_t kMaxGoals = 20'000, kMaxShapeStates = 50'000;

}  // namespace

SchemaWriter::SchemaWriter(SchemaDocument& document, SchemaReading reading)
    : document_(document),
      reading_(reading),
      terms_(document, reading),
      rules_(parse_gbnf("root ::= value" + std::string(kJsonGrammar), "JSON")),
      space_(rules_.repeat(rules_.text(" "), 0, 1, "space")) {}

GrammarItem SchemaWriter::named(const std::string& rule) const {
  const auto at = std::ranges::find(rules_.rules, rule, &GrammarRule::name);
  R1_CHECK(at != rules_.rules.end(), "JSON has no rule ", rule);
  return GrammarRules::call(static_cast<int32_t>(at - rules_.rules.begin()));
}

void SchemaWriter::fail(const std::string& reason) const {
  document_.fail(current_.empty() ? 0 : current_[0] / 2, reason);
}

void SchemaWriter::count_states() {
  if (++states_ > kMaxShapeStates) fail("the counts of items and properties need too many states");
}

GrammarRules SchemaWriter::write() {
  rules_.rules[0].alternatives.clear();
  current_ = {0};
  for (SchemaDemands& branch : terms_.branches_of(current_)) {
    if (!reading_.exact && branch.types == kEveryType && !branch.typed) branch.types = kObject;
    write_branch(0, branch);
  }
  while (!work_.empty()) {
    const auto [goal, rule] = std::move(work_.front());
    work_.pop_front();
    current_ = goal;
    for (const SchemaDemands& branch : terms_.branches_of(goal)) write_branch(rule, branch);
  }
  return std::move(rules_);
}

// A value that fulfils all literals.
GrammarItem SchemaWriter::value_of(SchemaGoal goal) {
  std::erase_if(goal, [&](SchemaLiteral literal) {
    const Json& json = document_.json(literal / 2);
    return literal % 2 == 0 && json.is_bool() && json.boolean();
  });
  std::ranges::sort(goal);
  const auto rest = std::ranges::unique(goal);
  goal.erase(rest.begin(), rest.end());
  if (goal.empty()) return named("value");
  const auto at = goals_.find(goal);
  if (at != goals_.end()) return GrammarRules::call(at->second);
  if (goals_.size() >= kMaxGoals) fail("the schema has too many combinations");
  const int32_t rule = rules_.add_rule("schema " + document_.place(goal[0] / 2));
  goals_[goal] = rule;
  work_.emplace_back(std::move(goal), rule);
  return GrammarRules::call(rule);
}

void SchemaWriter::write_branch(int32_t rule, const SchemaDemands& branch) {
  const auto word = [&](int type, std::string_view text) {
    if ((branch.types & type) != 0) rules_.add_alternative(rule, {rules_.text(text)});
  };
  word(kNull, "null");
  word(kTrue, "true");
  word(kFalse, "false");
  if ((branch.types & kNumber) != 0) rules_.add_alternative(rule, number_of(branch));
  if ((branch.types & kString) != 0) rules_.add_alternative(rule, string_of(branch));
  if ((branch.types & kArray) != 0) write_array(rule, branch);
  if ((branch.types & kObject) != 0) write_object(rule, branch);
}

GrammarAlternative SchemaWriter::number_of(const SchemaDemands& branch) {
  if (branch.numbers.empty()) return {named("number")};
  try {
    CodeAutomaton all = all_numbers();
    for (const SharedLanguage& number : branch.numbers) all = intersection_of(all, *number);
    return {rules_.scan(to_bytes(all))};
  } catch (const Error& error) {
    fail(error.what());
  }
}

GrammarAlternative SchemaWriter::string_of(const SchemaDemands& branch) {
  if (branch.strings.empty()) {
    if (branch.min_length > branch.max_length) return {rules_.set({})};
    if (branch.min_length == 0 && branch.max_length == UINT32_MAX) return {named("string")};
    return {rules_.text("\""), rules_.repeat(named("char"), branch.min_length, branch.max_length, "string"),
            rules_.text("\"")};
  }
  try {
    CodeAutomaton all = *branch.strings[0];
    for (const SharedLanguage& string : branch.strings) all = intersection_of(all, *string);
    if (branch.min_length > 0 || branch.max_length < UINT32_MAX)
      all = intersection_of(all, length_between(branch.min_length, branch.max_length));
    if (is_empty(all)) return {rules_.set({})};
    return {rules_.scan(to_bytes(json_literals(all)))};
  } catch (const Error& error) {
    fail(error.what());
  }
}

GrammarRules schema_rules(const Json& schema, const std::string& source, SchemaReading reading) {
  if (!schema.is_object() && !schema.is_bool())
    throw Error(source + ": a JSON Schema is an object, true or false");
  SchemaDocument document(schema, source);
  return SchemaWriter(document, reading).write();
}

std::shared_ptr<const Grammar> Grammar::from_json_schema(const Json& schema, const std::string& source,
                                                         bool exact) {
  try {
    return from_rules(schema_rules(schema, source, {.exact = exact}), source);
  } catch (const GrammarTooLarge& error) {
    throw Error(source + ": " + error.what());
  } catch (const NoText&) {
    throw NoText(source + ": no value fulfils the schema");
  }
}

}  // namespace r1
