// data/equations.cc: linear equations in one unknown, with whole coefficients, parentheses and quotients.
#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/phrasing.h"
#include "data/rational.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

// The coefficients are too small to leave 63 bits.
Rational calc(char op, const Rational& a, const Rational& b) {
  const auto result = apply_operator(op, a, b);
  R1_CHECK(result.has_value(), to_text(a), op, to_text(b));
  return *result;
}

// sign * factor * (x * unknown + one) / divisor. Plain terms have factor 1, divisor 1 and one of x and one 0.
struct Term {
  int64_t sign = 1;
  int64_t factor = 1;
  int64_t x = 0;
  int64_t one = 0;
  int64_t divisor = 1;
};

using Side = std::vector<Term>;

struct Linear {
  Rational x, one;  // x * unknown + one
};

Linear expand(const Side& side) {
  Linear sum;
  for (const Term& t : side) {
    const auto add = [&](Rational& to, int64_t part) {
      to = calc('+', to, calc('/', {t.sign * t.factor * part, 1}, {t.divisor, 1}));
    };
    add(sum.x, t.x);
    add(sum.one, t.one);
  }
  return sum;
}

struct Drawn {
  Side left, right;
  Rational solution;
  std::string key;
};

int64_t draw_sign(Random& random) {
  return random.below(2) == 0 ? 1 : -1;
}

// A separate function, because the two draws must come in this order.
int64_t draw_signed(Random& random, int64_t low, int64_t high) {
  const int64_t sign = draw_sign(random);
  return sign * random.between(low, high);
}

Term draw_group(Random& random) {
  Term group{.sign = draw_sign(random), .x = draw_signed(random, 1, 6), .one = draw_signed(random, 1, 9)};
  (random.below(3) == 0 ? group.divisor : group.factor) = random.between(2, 6);
  return group;
}

void draw_sides(Random& random, int level, Side& left, Side& right) {
  const auto x = [&](int64_t most) { return Term{.sign = draw_sign(random), .x = random.between(1, most)}; };
  const auto one = [&](int64_t most) {
    return Term{.sign = draw_sign(random), .one = random.between(1, most)};
  };
  if (level == 1) {
    left = {x(12), one(30)};
    right = {one(99)};
  } else if (level == 2) {
    left = {x(12), one(40)};
    right = {x(12), one(60)};
  } else {
    left = {draw_group(random), random.below(2) == 0 ? x(9) : one(20)};
    right = {random.below(2) == 0 ? draw_group(random) : x(9), one(40)};
    if (random.below(3) == 0) left.push_back(one(20));
  }
  random.shuffle(left);
  random.shuffle(right);
  if (random.below(2) == 0) left.swap(right);
}

// Level 1 has whole solutions, level 2 three times in four, level 3 every other time.
Drawn draw(Random& random, int level) {
  constexpr int64_t kMostDenominator = 12;
  const bool whole = level == 1 || random.below(4) < (level == 2 ? 3 : 2);
  const int64_t largest = whole ? 25 : 99;
  for (;;) {
    Drawn out;
    draw_sides(random, level, out.left, out.right);
    const Linear left = expand(out.left), right = expand(out.right);
    if (left.x == right.x) continue;
    if (level >= 2 && (left.x.num == 0 || right.x.num == 0)) continue;
    out.solution = calc('/', calc('-', right.one, left.one), calc('-', left.x, right.x));
    const auto [num, den] = out.solution;
    if (whole != (den == 1) || std::abs(num) > largest || den > kMostDenominator) continue;
    std::array<std::string, 2> sides{to_text(left.x) + " " + to_text(left.one),
                                     to_text(right.x) + " " + to_text(right.one)};
    if (sides[1] < sides[0]) sides[0].swap(sides[1]);
    out.key = "equations " + sides[0] + " = " + sides[1];
    return out;
  }
}

struct Style {
  std::string unknown;
  bool spaced;
  bool star;  // 3*x for 3x
};

// "3x - 4": x before the constant.
std::string write_inner(const Term& term, const Style& style) {
  std::string out;
  if (term.x != 0) {
    if (term.x == -1) out += '-';
    if (std::abs(term.x) != 1) out += std::to_string(term.x) + (style.star ? "*" : "");
    out += style.unknown;
  }
  if (term.one != 0) {
    if (term.x == 0) return std::to_string(term.one);
    const std::string blank = style.spaced ? " " : "";
    out += blank + (term.one > 0 ? "+" : "-") + blank + std::to_string(std::abs(term.one));
  }
  return out;
}

std::string write_body(const Term& term, const Style& style) {
  const std::string inner = write_inner(term, style);
  if (term.divisor != 1) return "(" + inner + ")/" + std::to_string(term.divisor);
  if (term.factor != 1) return std::to_string(term.factor) + (style.star ? "*(" : "(") + inner + ")";
  return inner;
}

std::string write(const Side& side, const Style& style) {
  const std::string blank = style.spaced ? " " : "";
  std::string out;
  for (const Term& term : side) {
    if (out.empty()) {
      if (term.sign < 0) out += '-';
    } else {
      out += blank + (term.sign < 0 ? "-" : "+") + blank;
    }
    out += write_body(term, style);
  }
  return out;
}

constexpr std::array<std::string_view, 10> kUnknowns{"x", "x", "x", "y", "z", "n", "t", "a", "k", "m"};

constexpr auto kForms = std::to_array<std::string_view>({
    "Solve for $x: $e",
    "[Solve|solve] $e[.|]",
    "$e, $x = ?",
    "If $e, what is $x?",
    "Find $x [if|when|such that|given that] $e.",
    "[What|Which] value of $x [satisfies|solves] $e?",
    "What is $x in $e?",
    "[Determine|Work out|Compute] $x from the equation $e.",
    "The equation is $e. What number is $x?",
    "$e. [Find|Give] $x.",
    "For which $x is $e?",
});

}  // namespace

Problem make_equation(Random& random, int level, Split split) {
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, level); });
  const Style style{.unknown = std::string(pick(random, kUnknowns)),
                    .spaced = random.below(3) != 0,
                    .star = random.below(5) == 0};
  const std::string equation =
      write(drawn.left, style) + (style.spaced ? " = " : "=") + write(drawn.right, style);
  return {.task = "equations",
          .question = phrase(random, kForms, {{'e', equation}, {'x', style.unknown}}),
          .gold = Json::object().set("unknown", style.unknown).set("value", to_text(drawn.solution)).dump(),
          .key = drawn.key};
}

}  // namespace r1
