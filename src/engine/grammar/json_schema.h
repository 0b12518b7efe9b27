// engine/grammar/json_schema.h: JSON Schema (draft 2020-12) as a grammar.
//
// Supported: type, enum, const, minLength, maxLength, pattern (pattern.h), format (pattern.h), minimum,
// maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, properties, required, additionalProperties,
// patternProperties, propertyNames, minProperties, maxProperties, dependentRequired, dependentSchemas,
// prefixItems, items, minItems, maxItems, contains, minContains, maxContains, unevaluatedItems,
// unevaluatedProperties, allOf, anyOf, oneOf, not, if, then, else, $ref (recursive, too), $defs, $id,
// $anchor, and annotations. Any other keyword is an Error that names it and its place, and so is a
// combination that would need too large a grammar.
//
// The form of what is written: white space and numbers as in json_grammar.h; numbers with a bound or a
// divisor have no exponent; an integer has no point; properties come in the schema's order, those without a
// schema last. A string with a pattern, a format or an enum has no escapes but those that JSON requires. A
// name without a schema may be written twice.
//
// A schema is read exactly, or as people mean it who describe an answer (the default):
//
//                                    exactly                     as meant
//   properties, but nothing said     others are allowed          others are not
//     about others
//   no type, but keywords of a type  other types are allowed     that type
//   {} as the whole schema           any value                   any object
//   format                           ignored (an annotation)     demanded; an unknown one is an Error
//
// Every text of the second reading is one of the first.
#pragma once

#include <string>

#include "engine/grammar/rules.h"
#include "engine/grammar/schema_error.h"
#include "engine/grammar/schema_terms.h"

namespace r1 {

// Throws SchemaError "SOURCE: schema PLACE: reason".
GrammarRules schema_rules(const Json& schema, const std::string& source, SchemaReading reading);

}  // namespace r1
