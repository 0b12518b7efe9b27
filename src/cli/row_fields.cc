#include "cli/row_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text_util.h"

namespace r1 {
namespace {

// "a", "a and b", "a, b and c"
std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    out += i == 0 ? "" : i + 1 == names.size() ? " and " : ", ";
    out += names[i];
  }
  return out;
}

}  // namespace

void check_row_fields(const Json& row, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : row.members()) {
    if (std::ranges::find(known, std::string_view(name)) != known.end()) continue;
    const std::vector<std::string> names(known.begin(), known.end());
    const std::string near = nearest_name(name, names);
    if (!near.empty()) value.fail(fmt::format("is not a known field (did you mean {}?)", near));
    value.fail(fmt::format("is not a known field; the known field{} {} {}", names.size() == 1 ? "" : "s",
                           names.size() == 1 ? "is" : "are", listed(names)));
  }
}

}  // namespace r1
