// data/base_conversion.cc: whole numbers in the bases 2 to 16.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "base/ascii.h"
#include "data/phrasing.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

constexpr std::array<int64_t, 4> kNamed{2, 8, 10, 16};

struct Drawn {
  int64_t value = 0;
  int64_t from = 0, to = 0;
  std::string key;
};

// Level 1: two of the bases that have names; level 2: base 10 and any other; level 3: any two.
Drawn draw(Random& random, int level) {
  constexpr std::array<int64_t, 3> kMost{511, 2047, 65535};
  Drawn out;
  do {
    out.from = level == 1 ? pick(random, kNamed) : level == 2 ? 10 : random.between(2, 16);
    out.to = level == 1 ? pick(random, kNamed) : random.between(2, 16);
    if (level == 2 && random.below(2) == 0) std::swap(out.from, out.to);
    out.value = random.between(2, kMost[static_cast<size_t>(level - 1)]);
  } while (out.from == out.to || out.value < std::min(out.from, out.to));  // else the digits are the same
  out.key = fmt::format("base_conversion {} {} {}", out.value, std::min(out.from, out.to),
                        std::max(out.from, out.to));
  return out;
}

std::string digits_of(int64_t value, int64_t base) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, static_cast<int>(base)).ptr;
  return {text.data(), end};
}

// "base 2" or "binary"
std::string name_of(Random& random, int64_t base) {
  if (random.below(2) == 0) {
    if (base == 2) return "binary";
    if (base == 8) return "octal";
    if (base == 10) return "decimal";
    if (base == 16) return random.below(2) == 0 ? "hexadecimal" : "hex";
  }
  return fmt::format("base {}", base);
}

// Sometimes writes a hexadecimal number as 0xff, and digits as capitals.
std::string write(Random& random, int64_t value, int64_t base) {
  std::string digits = digits_of(value, base);
  if (random.below(2) == 0) {
    for (char& c : digits) c = to_upper(c);
  }
  if (base == 10 || random.below(6) != 0) return digits;
  const std::string_view prefix = base == 2 ? "0b" : base == 8 ? "0o" : base == 16 ? "0x" : "";
  return std::string(prefix) + digits;
}

constexpr auto kForms = std::to_array<std::string_view>({
    "Convert $v from $f to $t.",
    "[convert|translate|change] $v from $f to $t",
    "What is $v ($f) in $t?",
    "[Write|Express|Give] the $f number $v in $t.",
    "$f $v to $t",
    "$v in $f = ? in $t",
    "[Write|Express] $v, given in $f, in $t.",
    "How is $v ($f) written in $t?",
    "I have the number $v in $f. What is it in $t?",
    "What does the $f number $v look like in $t?",
    "$v is a number in $f. [Write it|Give it|Convert it] in $t.",
    "What is the $t form of $v in $f?",
});

}  // namespace

Problem make_base_conversion(Random& random, int level, Split split) {
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, level); });
  const std::string number = write(random, drawn.value, drawn.from);
  const std::string from = name_of(random, drawn.from), to = name_of(random, drawn.to);
  return {.task = "base_conversion",
          .question = phrase(random, kForms, {{'v', number}, {'f', from}, {'t', to}}),
          .gold = Json::object().set("base", drawn.to).set("digits", digits_of(drawn.value, drawn.to)).dump(),
          .key = drawn.key};
}

}  // namespace r1
