#include "reward/math/units.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/ascii.h"

namespace r1::math {
namespace {

struct Name {
  std::string_view name;
  std::string_view dimension;
  int64_t num, den;
};

// All scales are exact by the definitions of the units.
constexpr auto kNames = std::to_array<Name>({
    {"mm", "length", 1, 1000},
    {"millimeter", "length", 1, 1000},
    {"millimetre", "length", 1, 1000},
    {"cm", "length", 1, 100},
    {"centimeter", "length", 1, 100},
    {"centimetre", "length", 1, 100},
    {"m", "length", 1, 1},
    {"meter", "length", 1, 1},
    {"metre", "length", 1, 1},
    {"km", "length", 1000, 1},
    {"kilometer", "length", 1000, 1},
    {"kilometre", "length", 1000, 1},
    {"in", "length", 254, 10000},
    {"inch", "length", 254, 10000},
    {"inches", "length", 254, 10000},
    {"ft", "length", 3048, 10000},
    {"foot", "length", 3048, 10000},
    {"feet", "length", 3048, 10000},
    {"yd", "length", 9144, 10000},
    {"yard", "length", 9144, 10000},
    {"mi", "length", 1609344, 1000},
    {"mile", "length", 1609344, 1000},
    {"s", "time", 1, 1},
    {"sec", "time", 1, 1},
    {"second", "time", 1, 1},
    {"min", "time", 60, 1},
    {"minute", "time", 60, 1},
    {"h", "time", 3600, 1},
    {"hr", "time", 3600, 1},
    {"hour", "time", 3600, 1},
    {"day", "time", 86400, 1},
    {"week", "time", 604800, 1},
    {"mg", "mass", 1, 1000},
    {"milligram", "mass", 1, 1000},
    {"g", "mass", 1, 1},
    {"gram", "mass", 1, 1},
    {"kg", "mass", 1000, 1},
    {"kilogram", "mass", 1000, 1},
    {"ml", "volume", 1, 1000},
    {"mL", "volume", 1, 1000},
    {"milliliter", "volume", 1, 1000},
    {"millilitre", "volume", 1, 1000},
    {"L", "volume", 1, 1},
    {"l", "volume", 1, 1},
    {"liter", "volume", 1, 1},
    {"litre", "volume", 1, 1},
    {"cent", "money", 1, 100},
    {"dollar", "money", 1, 1},
    {"USD", "money", 1, 1},
});

const Name* find_name(std::string_view word) {
  const auto exact = [&](std::string_view w) { return std::ranges::find(kNames, w, &Name::name); };
  auto at = exact(word);
  if (at == kNames.end() && word.size() > 3 && word.ends_with('s'))
    at = exact(word.substr(0, word.size() - 1));
  return at == kNames.end() ? nullptr : &*at;
}

}  // namespace

bool is_unit(std::string_view word) {
  return word.size() > 1 && find_name(word) != nullptr;
}

std::optional<Unit> read_unit(std::string_view text) {
  text = trim(text);
  std::string_view per;
  for (const std::string_view separator : {" per ", "/"}) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) continue;
    per = trim(text.substr(at + separator.size()));
    text = trim(text.substr(0, at));
    break;
  }
  int exponent = 1;
  for (const auto& [prefix, power] :
       {std::pair{"square ", 2}, {"sq ", 2}, {"sq. ", 2}, {"cubic ", 3}, {"cu ", 3}}) {
    if (!text.starts_with(prefix)) continue;
    exponent = power;
    text = trim(text.substr(std::string_view(prefix).size()));
  }
  for (const auto& [suffix, power] :
       {std::pair{"^2", 2}, {"^3", 3}, {"^{2}", 2}, {"^{3}", 3}, {"²", 2}, {"³", 3}, {" squared", 2}}) {
    if (!text.ends_with(suffix)) continue;
    exponent = power;
    text = trim(text.substr(0, text.size() - std::string_view(suffix).size()));
  }
  while (text.ends_with('.') || text.ends_with(',')) text.remove_suffix(1);
  const Name* name = find_name(text);
  if (name == nullptr) return std::nullopt;
  // Dimensions are literals, so a Unit needs no memory of its own.
  constexpr auto kPowers = std::to_array<std::array<std::string_view, 3>>({{"length", "length^2", "length^3"},
                                                                           {"time", "time^2", "time^3"},
                                                                           {"mass", "mass^2", "mass^3"},
                                                                           {"volume", "volume^2", "volume^3"},
                                                                           {"money", "money^2", "money^3"}});
  const auto row = std::ranges::find(kPowers, name->dimension, [](const auto& r) { return r[0]; });
  Unit unit{(*row)[static_cast<size_t>(exponent - 1)], power(Fraction(name->num, name->den), exponent)};
  if (per.empty()) return unit;
  const auto below = read_unit(per);
  if (!below || unit.dimension != "length" || below->dimension != "time") return std::nullopt;
  return Unit{"speed", unit.scale / below->scale};
}

}  // namespace r1::math
