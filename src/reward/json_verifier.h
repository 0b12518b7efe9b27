// reward/json_verifier.h: decides if the answer is a JSON object with the right fields. Any bytes give a
// verdict.
//
// The gold is an object, {"city": "Paris", "population": 2.1e6, "tags": ["a"]}, or a string that holds one.
// The answer must have every field of the gold with the same value; further fields are ignored. Nested
// objects are compared in the same way, and arrays item by item. Numbers are compared exactly and by value
// (2100000 is 2.1e6, 1 is 1.0). Strings, true, false and null must be the same.
//
// The answer (free_answer.h) is the object alone, or text whose last block between ``` lines is the object.
#pragma once

#include <memory>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

class Json;

class JsonVerifier {
 public:
  // Throws Error if the gold is not an object or has no fields.
  explicit JsonVerifier(const Json& gold);
  // `why` is "ok", one of free_answer.h's reasons, not_json, not_an_object, or missing_field:PATH or
  // wrong_field:PATH for the first field of the gold that is not right. An array is wrong as a whole.
  Verdict verify(std::string_view response) const;

 private:
  std::shared_ptr<const Json> gold_;
};

}  // namespace r1
