// engine/grammar/schema_error.h: what a JSON Schema has that cannot become a grammar.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace r1 {

// Its message is "SOURCE: schema PLACE: reason".
class SchemaError : public Error {
 public:
  SchemaError(const std::string& message, std::string place, std::string reason)
      : Error(message), place_(std::move(place)), reason_(std::move(reason)) {}

  const std::string& place() const { return place_; }    // a JSON pointer into the schema; "": the root
  const std::string& reason() const { return reason_; }  // often begins with the keyword

 private:
  std::string place_, reason_;
};

}  // namespace r1
