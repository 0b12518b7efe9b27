// engine/grammar/schema_terms.cc: how a schema's keywords become demands. References and connectives are in
// schema_connectives.cc, and what must not hold is in schema_refusals.cc.
#include "engine/grammar/schema_terms.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/grammar/number_language.h"
#include "engine/grammar/pattern.h"

namespace r1 {
namespace {

constexpr size_t kMaxBranches = 4096, kMaxResolved = 2000;

constexpr std::string_view kAnnotations[] = {
    "$anchor",       "$comment",    "$defs",           "$dynamicAnchor",
    "$id",           "$vocabulary", "contentEncoding", "contentMediaType",
    "contentSchema", "default",     "definitions",     "deprecated",
    "description",   "else",        "example",         "examples",
    "maxContains",   "minContains", "readOnly",        "then",
    "title",         "writeOnly"};
constexpr std::string_view kDemands[] = {"$dynamicRef",
                                         "$ref",
                                         "$schema",
                                         "additionalItems",
                                         "additionalProperties",
                                         "allOf",
                                         "anyOf",
                                         "const",
                                         "contains",
                                         "dependentRequired",
                                         "dependentSchemas",
                                         "enum",
                                         "exclusiveMaximum",
                                         "exclusiveMinimum",
                                         "format",
                                         "if",
                                         "items",
                                         "maxItems",
                                         "maxLength",
                                         "maxProperties",
                                         "maximum",
                                         "minItems",
                                         "minLength",
                                         "minProperties",
                                         "minimum",
                                         "multipleOf",
                                         "not",
                                         "oneOf",
                                         "pattern",
                                         "patternProperties",
                                         "prefixItems",
                                         "properties",
                                         "propertyNames",
                                         "required",
                                         "type",
                                         "unevaluatedItems",
                                         "unevaluatedProperties",
                                         "uniqueItems"};

SchemaScopes with_scope(SchemaScopes scopes, int32_t scope) {
  scopes.push_back(scope);
  return scopes;
}

}  // namespace

void SchemaDemands::add(const SchemaDemands& other) {
  types &= other.types;
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  append(literals, other.literals);
  append(strings, other.strings);
  append(numbers, other.numbers);
  min_length = std::max(min_length, other.min_length);
  max_length = std::min(max_length, other.max_length);
  append(arrays, other.arrays);
  append(objects, other.objects);
  append(unevaluated, other.unevaluated);
  hinted |= other.hinted;
  typed = typed || other.typed;
}

std::vector<SchemaDemands> SchemaTerms::branches_of(const SchemaGoal& goal) {
  std::vector<Branch> work(1);
  for (const SchemaLiteral literal : goal) work[0].demands.literals.emplace_back(literal, SchemaScopes{});
  std::vector<SchemaDemands> found;
  size_t made = 1;
  while (!work.empty()) {
    Branch branch = std::move(work.back());
    work.pop_back();
    while (!branch.demands.literals.empty() && branch.demands.types != 0) {
      const auto [literal, scopes] = branch.demands.literals.front();
      branch.demands.literals.erase(branch.demands.literals.begin());
      const auto opposite = branch.done.lower_bound({negated(literal), {}});
      if (opposite != branch.done.end() && opposite->first == negated(literal)) branch.demands.types = 0;
      if (!branch.done.emplace(literal, scopes).second) continue;
      if (branch.done.size() > kMaxResolved) document_.fail(literal / 2, "the schema is too complex here");
      if (literal % 2 == 0)
        hold(branch, literal / 2, scopes);
      else
        branch.choices.push_back(refuse(literal / 2));
    }
    if (branch.demands.types == 0) continue;
    if (branch.choices.empty()) {
      if (!reading_.exact && !branch.demands.typed && branch.demands.hinted != 0)
        branch.demands.types &= branch.demands.hinted;
      found.push_back(std::move(branch.demands));
      continue;
    }
    // The shortest choice first: it may decide others.
    const auto shortest = std::ranges::min_element(branch.choices, {}, &Choice::size);
    const Choice choice = std::move(*shortest);
    branch.choices.erase(shortest);
    made += choice.size();
    if (made > kMaxBranches)
      document_.fail(goal.empty() ? 0 : goal[0] / 2, "the schema has too many combinations here");
    for (size_t i = choice.size(); i-- > 0;) {
      work.push_back(branch);
      work.back().demands.add(choice[i]);
    }
  }
  return found;
}

SchemaLiteral SchemaTerms::any_of(const std::vector<SchemaLiteral>& literals) {
  if (literals.size() == 1) return literals[0];
  Json name = Json::object();
  name.set("$r1_any_of", Json::array_of(literals));
  const int32_t node = document_.made_node(name, document_.place(literals[0] / 2));
  any_of_[node] = literals;
  return 2 * node;
}

bool SchemaTerms::has_scopes(int32_t node) const {
  const Json& json = document_.json(node);
  return json.contains("unevaluatedItems") || json.contains("unevaluatedProperties");
}

int64_t SchemaTerms::count_of(int32_t node, const char* keyword, const Json& value) const {
  if (value.is_number()) {
    const double number = value.number();
    if (number >= 0 && number <= 1e9 && number == static_cast<double>(static_cast<int64_t>(number)))
      return static_cast<int64_t>(number);
  }
  document_.fail(node, fmt::format("{} is {}; it must be a whole number between 0 and 1000000000", keyword,
                                   value.dump().substr(0, 40)));
}

SchemaLiteral SchemaTerms::child(int32_t node, const std::string& keyword, const Json& schema) {
  if (!schema.is_object() && !schema.is_bool()) document_.fail(node, fmt::format("{} is no schema", keyword));
  return 2 * document_.node_of(schema, document_.place(node) + "/" + keyword);
}

SchemaLiteral SchemaTerms::constant(int32_t node, const Json& value) {
  Json schema = Json::object();
  if (value.is_array()) {
    Json items = Json::array();
    for (const Json& item : value.items()) items.push_back(Json::object().set("const", item));
    schema.set("type", "array")
        .set("minItems", static_cast<int64_t>(value.size()))
        .set("maxItems", static_cast<int64_t>(value.size()));
    schema.set("prefixItems", std::move(items));
  } else if (value.is_object()) {
    Json properties = Json::object(), required = Json::array();
    for (const auto& [name, member] : value.members()) {
      properties.set(name, Json::object().set("const", member));
      required.push_back(name);
    }
    schema.set("type", "object")
        .set("properties", std::move(properties))
        .set("required", std::move(required));
    schema.set("additionalProperties", false);
  } else {
    schema.set("const", value);
  }
  return 2 * document_.made_node(schema, document_.place(node));
}

SharedLanguage SchemaTerms::language(int32_t node, char kind, const std::string& text) {
  SharedLanguage& known = languages_[{kind, text}];
  if (known != nullptr) return known;
  try {
    switch (kind) {
      case 'p':
        known = std::make_shared<const CodeAutomaton>(pattern_language(text));
        break;
      case 't':
        known = std::make_shared<const CodeAutomaton>(texts(std::span(&text, 1)));
        break;
      case 'P':
      case 'T':
        known = std::make_shared<const CodeAutomaton>(
            complement_of(*language(node, kind == 'P' ? 'p' : 't', text)));
        break;
      default:
        R1_CHECK(false, "a language of kind ", kind);
    }
  } catch (const Error& error) {
    document_.fail(node, error.what());
  }
  return known;
}

void SchemaTerms::check_keywords(int32_t node) const {
  for (const auto& [keyword, value] : document_.json(node).members()) {
    if (std::ranges::find(kAnnotations, keyword) != std::end(kAnnotations)) continue;
    if (std::ranges::find(kDemands, keyword) != std::end(kDemands)) continue;
    document_.fail(node, fmt::format("keyword \"{}\" is not supported", keyword));
  }
}

void SchemaTerms::hold(Branch& branch, int32_t node, const SchemaScopes& scopes) {
  if (const auto made = any_of_.find(node); made != any_of_.end()) {
    Choice choice(made->second.size());
    for (size_t i = 0; i < choice.size(); ++i)
      choice[i].literals.emplace_back(made->second[i], SchemaScopes{});
    branch.choices.push_back(std::move(choice));
    return;
  }
  const Json& json = document_.json(node);
  if (json.is_bool()) {
    if (!json.boolean()) branch.demands.types = 0;
    return;
  }
  check_keywords(node);
  if (const Json* dialect = json.find("$schema");
      dialect != nullptr &&
      !(dialect->is_string() && dialect->string().find("json-schema.org/") != std::string::npos))
    document_.fail(node,
                   "\"$schema\" names a dialect that is not supported; use "
                   "https://json-schema.org/draft/2020-12/schema");
  hold_object(branch, node, scopes);
}

void SchemaTerms::hold_object(Branch& branch, int32_t node, const SchemaScopes& outer) {
  const Json& json = document_.json(node);
  SchemaScopes scopes = outer;
  for (const char* keyword : {"unevaluatedItems", "unevaluatedProperties"}) {
    const Json* rest = json.find(keyword);
    if (rest == nullptr) continue;
    const bool items = std::string_view(keyword) == "unevaluatedItems";
    scopes = with_scope(scopes, ++scopes_);
    branch.demands.unevaluated.push_back(
        {.scope = scopes_, .rest = child(node, keyword, *rest), .items = items, .outer = outer});
    branch.demands.hinted |= items ? kArray : kObject;
  }
  hold_values(branch.demands, node);
  hold_array(branch.demands, node, scopes);
  hold_properties(branch.demands, node, scopes);
  hold_connectives(branch, node, scopes);
  hold_dependents(branch, node, scopes);
}

SchemaDemands SchemaTerms::demand_of_type(int32_t node, const Json& type) {
  std::vector<std::string> names;
  if (type.is_string())
    names.push_back(type.string());
  else if (type.is_array()) {
    for (const Json& name : type.items()) names.push_back(name.is_string() ? name.string() : name.dump());
  }
  if (names.empty()) document_.fail(node, "type must be a name or a list of names");
  SchemaDemands demands{.types = 0, .typed = true};
  bool all_numbers = false, integers_only = false;
  static const std::map<std::string_view, int> kTypes = {
      {"null", kNull},     {"boolean", kTrue | kFalse}, {"number", kNumber}, {"integer", kNumber},
      {"string", kString}, {"array", kArray},           {"object", kObject}};
  for (const std::string& name : names) {
    const auto at = kTypes.find(name);
    if (at == kTypes.end()) document_.fail(node, fmt::format("type \"{}\" is unknown", name));
    demands.types |= at->second;
    all_numbers = all_numbers || name == "number";
    integers_only = integers_only || name == "integer";
  }
  if (integers_only && !all_numbers)
    demands.numbers.push_back(std::make_shared<const CodeAutomaton>(integers()));
  return demands;
}

SchemaTerms::Choice SchemaTerms::one_of_values(int32_t node, const std::vector<const Json*>& values) {
  SchemaDemands scalars{.types = 0, .typed = true};
  std::vector<std::string> strings;
  CodeAutomaton numbers = no_text();
  Choice choice;
  for (const Json* value : values) {
    switch (value->kind()) {
      case Json::Kind::null:
        scalars.types |= kNull;
        break;
      case Json::Kind::boolean:
        scalars.types |= value->boolean() ? kTrue : kFalse;
        break;
      case Json::Kind::integer:
      case Json::Kind::number: {
        scalars.types |= kNumber;
        const Decimal decimal = read_decimal(value->literal());
        CodeAutomaton equal = equal_to(decimal);
        if (is_empty(equal))
          document_.fail(node, fmt::format("the number {} has more than 16 digits before or behind its point",
                                           value->literal()));
        // An integer is written without a point.
        if (decimal.is_integer()) equal = intersection_of(equal, integers());
        numbers = union_of(numbers, equal);
        break;
      }
      case Json::Kind::string:
        scalars.types |= kString;
        strings.push_back(value->string());
        break;
      case Json::Kind::array:
      case Json::Kind::object:
        choice.push_back({.types = value->is_array() ? kArray : kObject,
                          .literals = {{constant(node, *value), {}}},
                          .typed = true});
        break;
    }
  }
  if (!strings.empty()) scalars.strings.push_back(std::make_shared<const CodeAutomaton>(texts(strings)));
  if ((scalars.types & kNumber) != 0)
    scalars.numbers.push_back(std::make_shared<const CodeAutomaton>(std::move(numbers)));
  if (scalars.types != 0 || choice.empty()) choice.insert(choice.begin(), std::move(scalars));
  return choice;
}

void SchemaTerms::hold_values(SchemaDemands& demands, int32_t node) {
  const Json& json = document_.json(node);
  if (const Json* type = json.find("type")) demands.add(demand_of_type(node, *type));
  for (const char* keyword : {"minLength", "maxLength"}) {
    const Json* value = json.find(keyword);
    if (value == nullptr) continue;
    const auto length = static_cast<uint32_t>(count_of(node, keyword, *value));
    SchemaDemands bound{.hinted = kString};
    (std::string_view(keyword) == "minLength" ? bound.min_length : bound.max_length) = length;
    demands.add(bound);
  }
  if (const Json* pattern = json.find("pattern"))
    demands.add({.strings = {language(node, 'p', pattern->string())}, .hinted = kString});
  if (const Json* format = json.find("format"); format != nullptr && !reading_.exact) {
    const std::string pattern(pattern_of_format(format->string()));
    if (pattern.empty())
      document_.fail(node, fmt::format("format \"{}\" is not supported", format->string()));
    demands.add({.strings = {language(node, 'p', pattern)}, .hinted = kString});
  }
  static const std::pair<const char*, Bound> kBounds[] = {{"minimum", Bound::at_least},
                                                          {"exclusiveMinimum", Bound::above},
                                                          {"maximum", Bound::at_most},
                                                          {"exclusiveMaximum", Bound::below}};
  try {
    for (const auto& [keyword, bound] : kBounds) {
      const Json* value = json.find(keyword);
      if (value == nullptr) continue;
      if (!value->is_number()) document_.fail(node, fmt::format("{} is no number", keyword));
      demands.add({.numbers = {std::make_shared<const CodeAutomaton>(
                       numbers_bounded(bound, read_decimal(value->literal())))},
                   .hinted = kNumber});
    }
    if (const Json* divisor = json.find("multipleOf"))
      demands.add(
          {.numbers = {std::make_shared<const CodeAutomaton>(multiples_of(read_decimal(divisor->literal())))},
           .hinted = kNumber});
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(": schema ") != std::string_view::npos) throw;
    document_.fail(node, error.what());
  }
}

void SchemaTerms::hold_array(SchemaDemands& demands, int32_t node, const SchemaScopes& scopes) {
  const Json& json = document_.json(node);
  ArrayDemand array{.scopes = scopes};
  bool given = false;
  const Json* items = json.find("items");
  const Json* prefix = json.find("prefixItems");
  if (items != nullptr && items->is_array()) {  // the form of earlier drafts
    prefix = items;
    items = json.find("additionalItems");
  }
  if (prefix != nullptr) {
    given = true;
    for (size_t i = 0; i < prefix->size(); ++i)
      array.prefix.push_back(child(node, fmt::format("prefixItems/{}", i), prefix->at(i)));
  }
  if (items != nullptr) given = true, array.rest = child(node, "items", *items);
  if (const Json* value = json.find("minItems")) given = true, array.min = count_of(node, "minItems", *value);
  if (const Json* value = json.find("maxItems")) given = true, array.max = count_of(node, "maxItems", *value);
  if (const Json* contains = json.find("contains")) {
    given = true;
    CountedItems& counted = array.counted.emplace();
    counted.item = child(node, "contains", *contains);
    const Json* min = json.find("minContains");
    const Json* max = json.find("maxContains");
    counted.min = min != nullptr ? count_of(node, "minContains", *min) : 1;
    if (max != nullptr) counted.max = count_of(node, "maxContains", *max);
  }
  if (const Json* unique = json.find("uniqueItems")) {
    given = true;
    if (unique->boolean() && array.max > 1) document_.fail(node, "keyword \"uniqueItems\" is not supported");
  }
  if (!given) return;
  SchemaDemands all{.hinted = kArray};
  all.arrays.push_back(std::move(array));
  demands.add(all);
}

void SchemaTerms::hold_properties(SchemaDemands& demands, int32_t node, const SchemaScopes& scopes) {
  const Json& json = document_.json(node);
  ObjectDemand object{.scopes = scopes};
  bool given = false;
  if (const Json* properties = json.find("properties")) {
    given = true;
    object.closes = properties->size() > 0;
    for (const auto& [name, schema] : properties->members())
      object.properties.emplace_back(name, child(node, "properties/" + name, schema));
  }
  if (const Json* patterns = json.find("patternProperties")) {
    given = true;
    object.closes = false;
    for (const auto& [pattern, schema] : patterns->members())
      object.patterns.emplace_back(language(node, 'p', pattern),
                                   child(node, "patternProperties/" + pattern, schema));
  }
  if (const Json* additional = json.find("additionalProperties")) {
    given = true;
    object.closes = false;
    object.additional = child(node, "additionalProperties", *additional);
  }
  if (const Json* required = json.find("required")) {
    given = true;
    for (const Json& name : required->items()) object.required.push_back(name.string());
  }
  if (const Json* value = json.find("minProperties"))
    given = true, object.min = count_of(node, "minProperties", *value);
  if (const Json* value = json.find("maxProperties"))
    given = true, object.max = count_of(node, "maxProperties", *value);
  if (const Json* names = json.find("propertyNames"))
    given = true, object.names = names_of({child(node, "propertyNames", *names)});
  if (!given) return;
  SchemaDemands all{.hinted = kObject};
  all.objects.push_back(std::move(object));
  demands.add(all);
}

SharedLanguage SchemaTerms::names_of(const SchemaGoal& goal) {
  CodeAutomaton all = no_text();
  for (const SchemaDemands& branch : branches_of(goal)) {
    if ((branch.types & kString) == 0) continue;
    CodeAutomaton own = length_between(branch.min_length, branch.max_length);
    for (const SharedLanguage& string : branch.strings) own = intersection_of(own, *string);
    all = union_of(all, own);
  }
  return std::make_shared<const CodeAutomaton>(std::move(all));
}

}  // namespace r1
