// engine/grammar/schema_connectives.cc: keywords that lead to other schemas of the same value: references,
// allOf, anyOf, oneOf, not, if, enumerations, and what depends on a property.
#include <fmt/format.h>

#include "engine/grammar/schema_terms.h"

namespace r1 {

void SchemaTerms::hold_connectives(Branch& branch, int32_t node, const SchemaScopes& scopes) {
  const Json& json = document_.json(node);
  const auto list_of = [&](const char* keyword) {
    std::vector<SchemaLiteral> list;
    if (const Json* schemas = json.find(keyword)) {
      for (size_t i = 0; i < schemas->size(); ++i)
        list.push_back(child(node, fmt::format("{}/{}", keyword, i), schemas->at(i)));
      if (list.empty()) document_.fail(node, fmt::format("{} is empty", keyword));
    }
    return list;
  };
  for (const char* keyword : {"$ref", "$dynamicRef"}) {
    if (const Json* reference = json.find(keyword))
      branch.demands.literals.emplace_back(2 * document_.target(node, reference->string(), keyword[1] == 'd'),
                                           scopes);
  }
  for (const SchemaLiteral literal : list_of("allOf")) branch.demands.literals.emplace_back(literal, scopes);
  if (const Json* values = json.find("enum")) {
    std::vector<const Json*> list;
    for (const Json& value : values->items()) list.push_back(&value);
    branch.choices.push_back(one_of_values(node, list));
  }
  if (const Json* value = json.find("const")) branch.choices.push_back(one_of_values(node, {value}));
  if (const Json* schema = json.find("not"))
    branch.demands.literals.emplace_back(negated(child(node, "not", *schema)), SchemaScopes{});

  const std::vector<SchemaLiteral> any = list_of("anyOf");
  if (!any.empty() && scopes.empty()) {
    Choice choice(any.size());
    for (size_t i = 0; i < any.size(); ++i) choice[i].literals.emplace_back(any[i], scopes);
    branch.choices.push_back(std::move(choice));
  } else if (!any.empty()) {
    if (any.size() > 8)
      document_.fail(node,
                     "anyOf with more than 8 schemas is not supported beside unevaluatedItems and "
                     "unevaluatedProperties");
    Choice choice;
    for (size_t held = 1; held < size_t{1} << any.size(); ++held) {
      SchemaDemands& way = choice.emplace_back();
      for (size_t i = 0; i < any.size(); ++i) {
        const bool holds = (held >> i & 1) != 0;
        way.literals.emplace_back(holds ? any[i] : negated(any[i]), holds ? scopes : SchemaScopes{});
      }
    }
    branch.choices.push_back(std::move(choice));
  }
  const std::vector<SchemaLiteral> one = list_of("oneOf");
  if (!one.empty()) {
    Choice choice(one.size());
    for (size_t i = 0; i < one.size(); ++i) {
      for (size_t j = 0; j < one.size(); ++j)
        choice[i].literals.emplace_back(i == j ? one[j] : negated(one[j]), i == j ? scopes : SchemaScopes{});
    }
    branch.choices.push_back(std::move(choice));
  }
}

void SchemaTerms::hold_dependents(Branch& branch, int32_t node, const SchemaScopes& scopes) {
  const Json& json = document_.json(node);
  const Json* condition = json.find("if");
  const Json* then = json.find("then");
  const Json* otherwise = json.find("else");
  if (condition != nullptr && (then != nullptr || otherwise != nullptr || !scopes.empty())) {
    const SchemaLiteral tested = child(node, "if", *condition);
    Choice choice(2);
    choice[0].literals.emplace_back(tested, scopes);
    if (then != nullptr) choice[0].literals.emplace_back(child(node, "then", *then), scopes);
    choice[1].literals.emplace_back(negated(tested), SchemaScopes{});
    if (otherwise != nullptr) choice[1].literals.emplace_back(child(node, "else", *otherwise), scopes);
    branch.choices.push_back(std::move(choice));
  }
  for (const char* keyword : {"dependentRequired", "dependentSchemas"}) {
    const Json* dependents = json.find(keyword);
    if (dependents == nullptr) continue;
    for (const auto& [name, wanted] : dependents->members()) {
      Choice choice(2);
      choice[0].objects.push_back({.forbidden = {name}});
      choice[1].objects.push_back({.required = {name}});
      choice[1].types = kObject;
      choice[0].hinted = choice[1].hinted = kObject;
      if (std::string_view(keyword) == "dependentSchemas") {
        choice[1].literals.emplace_back(child(node, fmt::format("{}/{}", keyword, name), wanted), scopes);
      } else {
        for (const Json& other : wanted.items()) choice[1].objects[0].required.push_back(other.string());
      }
      branch.choices.push_back(std::move(choice));
    }
  }
}

}  // namespace r1
