#include "cli/row_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text_util.h"

namespace r1 {
namespace {

// Returns "a", "a and b" or "a, b and c".
std::string listed(std::span<const std::string> names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    out += i == 0 ? "" : i + 1 == names.size() ? " and " : ", ";
    out += names[i];
  }
  return out;
}

}  // namespace

void check_row_fields(const Json& row, std::initializer_list<std::string_view> known) {
  check_row_fields(row, std::vector<std::string>(known.begin(), known.end()));
}

void check_row_fields(const Json& row, std::span<const std::string> known) {
  for (const auto& [name, value] : row.members()) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string near = nearest_name(name, known);
    if (!near.empty()) value.fail(fmt::format("is not a known field (did you mean {}?)", near));
    value.fail(fmt::format("is not a known field; the known field{} {} {}", known.size() == 1 ? "" : "s",
                           known.size() == 1 ? "is" : "are", listed(known)));
  }
}

std::optional<Json> row_id(const Json& row) {
  const Json* id = row.find("id");
  if (id == nullptr) return {};
  if (id->is_object() || id->is_array()) id->fail("must be a string, a number, true, false or null");
  return parse_json(id->dump(), "id");
}

}  // namespace r1
