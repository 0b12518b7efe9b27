// data/sequences.cc: the next term of a sequence. At least six terms are shown, more than the number of
// unknowns of each rule. A sequence that two rules continue differently is drawn again.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/phrasing.h"
#include "data/sequence_rules.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

constexpr size_t kFewest = 6, kMost = 8;  // terms shown
using Terms = std::vector<int64_t>;

// A separate function, because the two draws must come in this order.
int64_t draw_signed(Random& random, int64_t low, int64_t high) {
  const int64_t size = random.between(low, high);
  return random.below(2) == 0 ? size : -size;
}

Terms draw_arithmetic(Random& random, int level) {
  const int64_t most = level == 1 ? 12 : 40;
  int64_t term = random.between(level == 1 ? 1 : -50, 60);
  const int64_t step = draw_signed(random, 1, most);
  Terms terms;
  for (size_t i = 0; i <= kMost; ++i, term += step) terms.push_back(term);
  return terms;
}

Terms draw_geometric(Random& random, int level) {
  const int64_t most = level == 1 ? 3 : 5;
  const int64_t ratio = level == 3 ? draw_signed(random, 2, most) : random.between(2, most);
  int64_t term = random.between(1, level == 1 ? 20 : 30);
  Terms terms;
  for (size_t i = 0; i <= kMost; ++i, term *= ratio) terms.push_back(term);
  return terms;
}

Terms draw_falling(Random& random) {  // geometric, read backwards: ratio 1/2 or 1/3
  const int64_t ratio = random.between(2, 3);
  int64_t term = random.between(1, 30);
  Terms terms;
  for (size_t i = 0; i <= kMost; ++i, term *= ratio) terms.push_back(term);
  std::ranges::reverse(terms);
  return terms;
}

Terms draw_quadratic(Random& random, int level) {
  int64_t term = random.between(level == 2 ? 0 : -40, 40);
  int64_t step = random.between(level == 2 ? 1 : -20, 20);
  const int64_t growth = level == 2 ? random.between(1, 6) : draw_signed(random, 1, 9);
  Terms terms;
  for (size_t i = 0; i <= kMost; ++i, term += step, step += growth) terms.push_back(term);
  return terms;
}

Terms draw_fibonacci(Random& random, int level) {
  const int64_t low = level == 3 ? -20 : 1, high = level == 3 ? 40 : 20;
  Terms terms{random.between(low, high), random.between(low, high)};
  while (terms.size() <= kMost) terms.push_back(terms[terms.size() - 2] + terms.back());
  return terms;
}

Terms draw_interleaved(Random& random) {
  std::array<Terms, 2> parts;
  for (Terms& part : parts)
    part = random.below(3) == 0 ? draw_geometric(random, 1) : draw_arithmetic(random, 1);
  Terms terms;
  for (size_t i = 0; i <= kMost; ++i) terms.push_back(parts[i % 2][i / 2]);
  return terms;
}

Terms draw_terms(Random& random, int level) {
  const int64_t rule = random.below(4);
  if (level == 1) return rule < 3 ? draw_arithmetic(random, 1) : draw_geometric(random, 1);
  if (level == 2) {
    if (rule == 0) return draw_geometric(random, 2);
    if (rule == 1) return draw_falling(random);
    return rule == 2 ? draw_quadratic(random, 2) : draw_fibonacci(random, 2);
  }
  if (rule == 0) return draw_quadratic(random, 3);
  if (rule == 1) return draw_fibonacci(random, 3);
  return rule == 2 ? draw_geometric(random, 3) : draw_interleaved(random);
}

struct Drawn {
  Terms shown;
  int64_t next = 0;
  std::string key;  // the first six terms, whatever the rule and however many more are shown
};

Drawn draw(Random& random, int level) {
  for (;;) {
    Drawn out;
    out.shown = draw_terms(random, level);
    const auto shown = static_cast<size_t>(random.between(kFewest, kMost));
    out.next = out.shown[shown];
    out.shown.resize(shown);
    const auto decided = decided_next_term(out.shown);
    if (!decided) continue;
    R1_CHECK(*decided == (Rational{out.next, 1}), "drawn ", out.next, ", decided ", to_text(*decided));
    out.key = "sequences";
    for (size_t i = 0; i < kFewest; ++i) out.key += ' ' + std::to_string(out.shown[i]);
    return out;
  }
}

constexpr auto kForms = std::to_array<std::string_view>({
    "What [comes next|is the next number|is the next term]: $s, ...?",
    "$s, ?",
    "$s, ...",
    "[Find|Give|Tell me] the next [number|term] [in|of] the sequence $s.",
    "Continue the [sequence|pattern|series]: $s",
    "The sequence $s goes on by a simple rule. What is its next term?",
    "Which number [follows|comes after|continues] $s?",
    "What number comes after these: $s?",
    "next number: $s",
    "Complete the pattern $s, _",
});

}  // namespace

Problem make_sequence(Random& random, int level, Split split) {
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, level); });
  const std::string_view comma = random.below(5) == 0 ? " " : ", ";
  std::string terms;
  for (const int64_t term : drawn.shown) {
    if (!terms.empty()) terms += comma;
    terms += std::to_string(term);
  }
  return {.task = "sequences",
          .question = phrase(random, kForms, {{'s', terms}}),
          .gold = Json(std::to_string(drawn.next)).dump(),
          .key = drawn.key};
}

}  // namespace r1
