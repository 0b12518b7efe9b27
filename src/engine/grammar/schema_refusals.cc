// engine/grammar/schema_refusals.cc: the ways in which a value may fail a schema, as demands: one of a
// schema's keywords fails.
#include <fmt/format.h>

#include "base/error.h"
#include "engine/grammar/number_language.h"
#include "engine/grammar/pattern.h"
#include "engine/grammar/schema_terms.h"

namespace r1 {
namespace {

SharedLanguage shared_language(CodeAutomaton automaton) {
  return std::make_shared<const CodeAutomaton>(std::move(automaton));
}

SchemaDemands some_array(ArrayDemand array) {
  SchemaDemands demands{.types = kArray, .typed = true};
  demands.arrays.push_back(std::move(array));
  return demands;
}

SchemaDemands some_object(ObjectDemand object) {
  SchemaDemands demands{.types = kObject, .typed = true};
  demands.objects.push_back(std::move(object));
  return demands;
}

}  // namespace

SchemaTerms::Choice SchemaTerms::refuse(int32_t node) {
  Choice ways;
  if (const auto made = any_of_.find(node); made != any_of_.end()) {
    SchemaDemands& none = ways.emplace_back();
    for (const SchemaLiteral literal : made->second)
      none.literals.emplace_back(negated(literal), SchemaScopes{});
    return ways;
  }
  const Json& json = document_.json(node);
  if (json.is_bool()) {
    if (!json.boolean()) ways.emplace_back();
    return ways;
  }
  check_keywords(node);
  if (has_scopes(node))
    document_.fail(node,
                   "unevaluatedItems and unevaluatedProperties are not supported inside not, oneOf and if");
  refuse_values(node, ways);
  refuse_array(node, ways);
  refuse_properties(node, ways);
  refuse_connectives(node, ways);
  return ways;
}

void SchemaTerms::refuse_values(int32_t node, Choice& ways) {
  const Json& json = document_.json(node);
  const auto number = [&](CodeAutomaton allowed) {
    ways.push_back({.types = kNumber, .numbers = {shared_language(std::move(allowed))}, .typed = true});
  };
  if (const Json* type = json.find("type")) {
    const SchemaDemands held = demand_of_type(node, *type);
    if (held.types != kEveryType) ways.push_back({.types = kEveryType & ~held.types, .typed = true});
    if (!held.numbers.empty()) number(complement_of(integral_numbers()));
  }
  std::vector<const Json*> values;
  if (const Json* list = json.find("enum")) {
    for (const Json& value : list->items()) values.push_back(&value);
  }
  if (const Json* value = json.find("const")) {
    if (!values.empty()) document_.fail(node, "enum beside const is not supported inside not, oneOf and if");
    values.push_back(value);
  }
  if (!values.empty()) {
    // A value that is none of them.
    SchemaDemands none{.typed = false};
    for (const Json* value : values) {
      switch (value->kind()) {
        case Json::Kind::null:
          none.types &= ~kNull;
          break;
        case Json::Kind::boolean:
          none.types &= ~(value->boolean() ? kTrue : kFalse);
          break;
        case Json::Kind::integer:
        case Json::Kind::number:
          none.numbers.push_back(shared_language(complement_of(equal_to(read_decimal(value->literal())))));
          break;
        case Json::Kind::string:
          none.strings.push_back(language(node, 'T', value->string()));
          break;
        case Json::Kind::array:
        case Json::Kind::object:
          none.literals.emplace_back(negated(constant(node, *value)), SchemaScopes{});
          break;
      }
    }
    ways.push_back(std::move(none));
  }
  const auto string = [&](SharedLanguage allowed) {
    ways.push_back({.types = kString, .strings = {std::move(allowed)}, .typed = true});
  };
  if (const Json* value = json.find("minLength")) {
    const int64_t least = count_of(node, "minLength", *value);
    if (least > 0)
      ways.push_back({.types = kString, .max_length = static_cast<uint32_t>(least - 1), .typed = true});
  }
  if (const Json* value = json.find("maxLength"))
    ways.push_back({.types = kString,
                    .min_length = static_cast<uint32_t>(count_of(node, "maxLength", *value) + 1),
                    .typed = true});
  if (const Json* pattern = json.find("pattern")) string(language(node, 'P', pattern->string()));
  if (const Json* format = json.find("format"); format != nullptr && !reading_.exact) {
    const std::string pattern(pattern_of_format(format->string()));
    if (pattern.empty())
      document_.fail(node, fmt::format("format \"{}\" is not supported", format->string()));
    string(language(node, 'P', pattern));
  }
  static const std::pair<const char*, Bound> kOpposites[] = {{"minimum", Bound::below},
                                                             {"exclusiveMinimum", Bound::at_most},
                                                             {"maximum", Bound::above},
                                                             {"exclusiveMaximum", Bound::at_least}};
  for (const auto& [keyword, bound] : kOpposites) {
    if (const Json* value = json.find(keyword))
      number(numbers_bounded(bound, read_decimal(value->literal())));
  }
  if (const Json* divisor = json.find("multipleOf")) {
    try {
      number(complement_of(multiples_of(read_decimal(divisor->literal()))));
    } catch (const Error& error) {
      document_.fail(node, error.what());
    }
  }
}

void SchemaTerms::refuse_array(int32_t node, Choice& ways) {
  const Json& json = document_.json(node);
  SchemaDemands held;
  hold_array(held, node, {});
  if (held.arrays.empty()) return;
  const Json* unique = json.find("uniqueItems");
  if (unique != nullptr && unique->boolean())
    document_.fail(node, "keyword \"uniqueItems\" is not supported inside not, oneOf and if");
  const ArrayDemand& array = held.arrays[0];
  const auto some = [&](SchemaLiteral item, int64_t first, int64_t last) {
    ways.push_back(
        some_array({.counted = CountedItems{.item = item, .first = first, .last = last, .min = 1}}));
  };
  const auto prefix = static_cast<int64_t>(array.prefix.size());
  for (int64_t i = 0; i < prefix; ++i) some(negated(array.prefix[static_cast<size_t>(i)]), i, i);
  if (array.rest) some(negated(*array.rest), prefix, INT64_MAX);
  if (array.min > 0) ways.push_back(some_array({.max = array.min - 1}));
  if (array.max < INT64_MAX) ways.push_back(some_array({.min = array.max + 1}));
  if (array.counted) {
    CountedItems counted = *array.counted;
    if (counted.min > 0)
      ways.push_back(some_array({.counted = CountedItems{.item = counted.item, .max = counted.min - 1}}));
    if (counted.max < INT64_MAX)
      ways.push_back(some_array({.counted = CountedItems{.item = counted.item, .min = counted.max + 1}}));
  }
}

void SchemaTerms::refuse_properties(int32_t node, Choice& ways) {
  SchemaDemands held;
  hold_properties(held, node, {});
  if (held.objects.empty()) return;
  const ObjectDemand& object = held.objects[0];
  for (const auto& [name, schema] : object.properties)
    ways.push_back(some_object({.properties = {{name, negated(schema)}}, .required = {name}}));
  std::vector<std::string> names;
  for (const auto& [name, schema] : object.properties) names.push_back(name);
  CodeAutomaton others = complement_of(texts(names));
  for (const auto& [pattern, schema] : object.patterns) {
    ways.push_back(some_object({.some = std::pair(pattern, negated(schema))}));
    others = intersection_of(others, complement_of(*pattern));
  }
  if (object.additional)
    ways.push_back(
        some_object({.some = std::pair(shared_language(std::move(others)), negated(*object.additional))}));
  for (const std::string& name : object.required) ways.push_back(some_object({.forbidden = {name}}));
  if (object.names != nullptr) {
    const SchemaLiteral anything = 2 * document_.made_node(Json(true), document_.place(node));
    ways.push_back(some_object({.some = std::pair(shared_language(complement_of(*object.names)), anything)}));
  }
  if (object.min > 0) ways.push_back(some_object({.max = object.min - 1}));
  if (object.max < INT64_MAX) ways.push_back(some_object({.min = object.max + 1}));
}

void SchemaTerms::refuse_connectives(int32_t node, Choice& ways) {
  // The choices of the keywords as they hold are conjunctions again: each of them may fail.
  const Json& json = document_.json(node);
  const auto literal_list = [&](const char* keyword) {
    std::vector<SchemaLiteral> list;
    if (const Json* schemas = json.find(keyword)) {
      for (size_t i = 0; i < schemas->size(); ++i)
        list.push_back(child(node, fmt::format("{}/{}", keyword, i), schemas->at(i)));
    }
    return list;
  };
  const auto way = [&](const std::vector<SchemaLiteral>& literals) {
    SchemaDemands& demands = ways.emplace_back();
    for (const SchemaLiteral literal : literals) demands.literals.emplace_back(literal, SchemaScopes{});
  };
  for (const char* keyword : {"$ref", "$dynamicRef"}) {
    if (const Json* reference = json.find(keyword))
      way({negated(2 * document_.target(node, reference->string(), keyword[1] == 'd'))});
  }
  for (const SchemaLiteral literal : literal_list("allOf")) way({negated(literal)});
  if (const Json* schema = json.find("not")) way({child(node, "not", *schema)});
  std::vector<SchemaLiteral> none;
  for (const SchemaLiteral literal : literal_list("anyOf")) none.push_back(negated(literal));
  if (!none.empty()) way(none);
  const std::vector<SchemaLiteral> one = literal_list("oneOf");
  if (!one.empty()) {
    std::vector<SchemaLiteral> no;
    for (const SchemaLiteral literal : one) no.push_back(negated(literal));
    way(no);
    for (size_t i = 0; i < one.size(); ++i) {
      for (size_t j = i + 1; j < one.size(); ++j) way({one[i], one[j]});
    }
  }
  if (const Json* condition = json.find("if")) {
    const SchemaLiteral tested = child(node, "if", *condition);
    if (const Json* then = json.find("then")) way({tested, negated(child(node, "then", *then))});
    if (const Json* otherwise = json.find("else"))
      way({negated(tested), negated(child(node, "else", *otherwise))});
  }
  if (const Json* dependents = json.find("dependentRequired")) {
    for (const auto& [name, wanted] : dependents->members()) {
      for (const Json& other : wanted.items())
        ways.push_back(some_object({.required = {name}, .forbidden = {other.string()}}));
    }
  }
  if (const Json* dependents = json.find("dependentSchemas")) {
    for (const auto& [name, wanted] : dependents->members()) {
      SchemaDemands demands = some_object({.required = {name}});
      demands.literals.emplace_back(negated(child(node, "dependentSchemas/" + name, wanted)), SchemaScopes{});
      ways.push_back(std::move(demands));
    }
  }
}

}  // namespace r1
