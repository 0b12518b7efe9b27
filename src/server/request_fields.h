// server/request_fields.h: reads the fields of a request's JSON object and remembers which ones it knows.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

// A field that is null counts as absent. A value of the wrong kind or out of range throws Error that names the
// field. The object outlives the reader.
class RequestFields {
 public:
  explicit RequestFields(const Json& object);

  const Json* find(std::string_view name);
  bool boolean(std::string_view name, bool fallback);
  // A whole number in [low, high].
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high);
  std::optional<std::string> text(std::string_view name);
  // Says that others read this field.
  void know(std::string_view name) { known_.emplace(name); }

  // Fields of the object that nobody has asked for.
  std::vector<std::string> unknown() const;

 private:
  const Json& object_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace r1
