// cli/row_fields.h: the fields that a row of an input file may have.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace r1 {

// Throws Error if `row` is not an object or has a field that is not in `known`. The message names the file,
// the line, the field, and the nearest known field, or all known fields if none is near:
//   "F.jsonl:12: txt is not a known field (did you mean text?)"
//   "F.jsonl:12: colour is not a known field; the known fields are text and id"
void check_row_fields(const Json& row, std::initializer_list<std::string_view> known);
void check_row_fields(const Json& row, std::span<const std::string> known);

// The field "id": any scalar, which output rows repeat as it was written; nothing if the row has none. Throws
// Error if it is an array or an object. The value does not keep the text of its row alive.
std::optional<Json> row_id(const Json& row);

}  // namespace r1
