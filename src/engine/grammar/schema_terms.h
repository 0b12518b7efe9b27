// engine/grammar/schema_terms.h: what a JSON Schema demands of a value, type by type.
//
// A literal is a subschema that must hold, or one that must not. A conjunction of literals is resolved into
// branches: a value is allowed if it is allowed by one of them. A branch has no connectives any more: it says
// which types are allowed, and for strings, numbers, arrays and objects which ones. What it demands of items
// and properties are literals again. So allOf, anyOf, oneOf, not, if, $ref and the keywords of dependencies
// are all one mechanism, and there are finitely many conjunctions even if the schema is recursive.
//
// `unevaluatedItems` and `unevaluatedProperties` depend on which subschemas held. Inside their schema, anyOf
// is resolved into branches that exclude each other, and every demand carries the scopes it counts for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/regular.h"
#include "engine/grammar/schema_document.h"

namespace r1 {

using SchemaLiteral = int32_t;                  // 2 * node, + 1 if it must not hold
using SchemaGoal = std::vector<SchemaLiteral>;  // a sorted conjunction
using SharedLanguage = std::shared_ptr<const CodeAutomaton>;
using SchemaScopes = std::vector<int32_t>;

enum SchemaType : uint8_t {
  kNull = 1,
  kTrue = 2,
  kFalse = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kEveryType = 127
};

struct CountedItems {
  SchemaLiteral item = 0;
  int64_t first = 0, last = INT64_MAX;  // indices that count
  int64_t min = 0, max = INT64_MAX;     // so many of them must match
};

struct ArrayDemand {
  std::vector<SchemaLiteral> prefix = {};
  std::optional<SchemaLiteral> rest = {};  // of the items behind the prefix
  int64_t min = 0, max = INT64_MAX;
  std::optional<CountedItems> counted = {};
  SchemaScopes scopes = {};
};

struct ObjectDemand {
  std::vector<std::pair<std::string, SchemaLiteral>> properties = {};
  std::vector<std::pair<SharedLanguage, SchemaLiteral>> patterns = {};
  std::optional<SchemaLiteral> additional = {};  // of all other names
  std::vector<std::string> required = {}, forbidden = {};
  bool closes = false;        // names its properties and says nothing about others
  SharedLanguage names = {};  // of all names; null: any
  int64_t min = 0, max = INT64_MAX;
  // There must be a property with such a name that fulfils the literal.
  std::optional<std::pair<SharedLanguage, SchemaLiteral>> some = {};
  SchemaScopes scopes = {};
};

struct UnevaluatedDemand {
  int32_t scope = 0;
  SchemaLiteral rest = 0;
  bool items = false;       // of arrays; otherwise of objects
  SchemaScopes outer = {};  // for these, everything is evaluated
};

// A conjunction of demands.
struct SchemaDemands {
  int types = kEveryType;
  std::vector<std::pair<SchemaLiteral, SchemaScopes>> literals = {};
  std::vector<SharedLanguage> strings = {}, numbers = {};
  uint32_t min_length = 0, max_length = UINT32_MAX;
  std::vector<ArrayDemand> arrays = {};
  std::vector<ObjectDemand> objects = {};
  std::vector<UnevaluatedDemand> unevaluated = {};
  int hinted = 0;      // types that the keywords are about, for schemas that name no type
  bool typed = false;  // "type", "enum" or "const" was there

  void add(const SchemaDemands& other);
};

struct SchemaReading {
  // Exactly the values that the schema allows. Formats are annotations, as in the standard.
  // Otherwise what people mean who describe an answer: see json_schema.h.
  bool exact = false;
};

class SchemaTerms {
 public:
  SchemaTerms(SchemaDocument& document, SchemaReading reading) : document_(document), reading_(reading) {}

  // Returns the branches of a goal; none if no value fulfils it. Throws Error if a keyword is not supported.
  std::vector<SchemaDemands> branches_of(const SchemaGoal& goal);
  // The strings that fulfil a goal.
  SharedLanguage names_of(const SchemaGoal& goal);
  // A schema that holds if one of the literals does.
  SchemaLiteral any_of(const std::vector<SchemaLiteral>& literals);
  static SchemaLiteral negated(SchemaLiteral literal) { return literal ^ 1; }

 private:
  using Choice = std::vector<SchemaDemands>;
  struct Branch {
    SchemaDemands demands;
    std::vector<Choice> choices = {};
    std::set<std::pair<SchemaLiteral, SchemaScopes>> done;
  };

  void hold(Branch& branch, int32_t node, const SchemaScopes& scopes);
  void hold_object(Branch& branch, int32_t node, const SchemaScopes& outer);
  void hold_values(SchemaDemands& demands, int32_t node);
  void hold_array(SchemaDemands& demands, int32_t node, const SchemaScopes& scopes);
  void hold_properties(SchemaDemands& demands, int32_t node, const SchemaScopes& scopes);
  void hold_connectives(Branch& branch, int32_t node, const SchemaScopes& scopes);
  void hold_dependents(Branch& branch, int32_t node, const SchemaScopes& scopes);
  Choice refuse(int32_t node);  // the ways not to hold
  void refuse_values(int32_t node, Choice& ways);
  void refuse_array(int32_t node, Choice& ways);
  void refuse_properties(int32_t node, Choice& ways);
  void refuse_connectives(int32_t node, Choice& ways);

  Choice one_of_values(int32_t node, const std::vector<const Json*>& values);
  SchemaDemands demand_of_type(int32_t node, const Json& type);
  int64_t count_of(int32_t node, const char* keyword, const Json& value) const;
  SchemaLiteral child(int32_t node, const std::string& keyword, const Json& schema);
  SchemaLiteral constant(int32_t node, const Json& value);
  SharedLanguage language(int32_t node, char kind, const std::string& text);
  void check_keywords(int32_t node) const;
  bool has_scopes(int32_t node) const;

  SchemaDocument& document_;
  SchemaReading reading_;
  int32_t scopes_ = 0;
  std::map<int32_t, std::vector<SchemaLiteral>> any_of_;  // of made nodes
  std::map<std::pair<char, std::string>, SharedLanguage> languages_;
};

}  // namespace r1
