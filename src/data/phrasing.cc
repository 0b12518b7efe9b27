#include "data/phrasing.h"

#include <algorithm>

#include "base/error.h"

namespace r1 {
namespace {

std::string choose(Random& random, std::string_view form) {
  std::string out;
  while (!form.empty()) {
    const size_t open = form.find('[');
    out += form.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = form.find(']', open);
    R1_CHECK(close != std::string_view::npos, form);
    std::string_view parts = form.substr(open + 1, close - open - 1);
    for (int64_t skip = random.below(std::ranges::count(parts, '|') + 1); skip > 0; --skip) {
      parts.remove_prefix(parts.find('|') + 1);
    }
    out += parts.substr(0, parts.find('|'));
    form.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace

std::string phrase(Random& random, std::string_view form, std::span<const Hole> holes) {
  const std::string chosen = choose(random, form);
  std::string out;
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i] != '$') {
      out += chosen[i];
      continue;
    }
    ++i;
    const auto hole = std::ranges::find_if(holes, [&](const Hole& h) { return h.name == chosen[i]; });
    R1_CHECK(hole != holes.end(), chosen);
    out += hole->value;
  }
  return out;
}

std::string phrase(Random& random, std::span<const std::string_view> forms,
                   std::initializer_list<Hole> holes) {
  return phrase(random, pick(random, forms), std::span(holes.begin(), holes.size()));
}

}  // namespace r1
