// data/knights_knaves.cc: knights tell the truth, knaves lie; who is what? Two to four people make one or two
// statements each. A puzzle is kept if exactly one assignment makes every knight's statements true and every
// knave's false.
//
// An assignment of n people is n bits; a knight's bit is 1. A statement is represented by its table: bit m is
// set if it is true under assignment m. The content of a puzzle is its tables, whatever the names and the
// wording.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/ascii.h"
#include "data/phrasing.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

enum class Kind { is, both, either, implies, same, different, exactly, at_least, at_most };

// `a_knight`: claims that a is a knight (else a knave).
// Counts: `count` of all people are knights (knaves if a_knight is false).
struct Statement {
  Kind kind = Kind::is;
  int a = 0, b = 0;
  bool a_knight = true, b_knight = true;
  int count = 0;
};

bool holds(const Statement& s, uint32_t assignment, int people) {
  const bool a = ((assignment >> s.a & 1) != 0) == s.a_knight;
  const bool b = ((assignment >> s.b & 1) != 0) == s.b_knight;
  const int knights = std::popcount(assignment), counted = s.a_knight ? knights : people - knights;
  switch (s.kind) {
    case Kind::is:
      return a;
    case Kind::both:
      return a && b;
    case Kind::either:
      return a || b;
    case Kind::implies:
      return !a || b;
    case Kind::same:
      return (assignment >> s.a & 1) == (assignment >> s.b & 1);
    case Kind::different:
      return (assignment >> s.a & 1) != (assignment >> s.b & 1);
    case Kind::exactly:
      return counted == s.count;
    case Kind::at_least:
      return counted >= s.count;
    case Kind::at_most:
      break;
  }
  return counted <= s.count;
}

uint32_t table_of(const Statement& s, int people) {
  uint32_t table = 0;
  for (uint32_t m = 0; m < 1u << people; ++m) table |= holds(s, m, people) ? 1u << m : 0u;
  return table;
}

struct Puzzle {
  int people = 0;
  std::vector<std::vector<Statement>> said;  // by speaker
};

// Tries every assignment; nothing if none or more than one fits.
std::optional<uint32_t> solve(const Puzzle& puzzle) {
  std::optional<uint32_t> found;
  for (uint32_t m = 0; m < 1u << puzzle.people; ++m) {
    bool fits = true;
    for (int speaker = 0; speaker < puzzle.people; ++speaker) {
      for (const Statement& s : puzzle.said[static_cast<size_t>(speaker)]) {
        fits = fits && holds(s, m, puzzle.people) == ((m >> speaker & 1) != 0);
      }
    }
    if (!fits) continue;
    if (found) return std::nullopt;
    found = m;
  }
  return found;
}

// The same for all puzzles that differ only in who is who: the smallest text over all orders of the people.
std::string content_of(const Puzzle& puzzle) {
  std::vector<int> place(static_cast<size_t>(puzzle.people));  // person i is the place[i]-th
  std::iota(place.begin(), place.end(), 0);
  const auto moved = [&](uint32_t table) {
    uint32_t out = 0;
    for (uint32_t m = 0; m < 1u << puzzle.people; ++m) {
      uint32_t to = 0;
      for (size_t i = 0; i < place.size(); ++i) to |= (m >> i & 1) << place[i];
      out |= (table >> m & 1) << to;
    }
    return out;
  };
  std::string least;
  do {
    std::vector<std::string> parts(place.size());
    for (size_t i = 0; i < place.size(); ++i) {
      std::vector<uint32_t> tables;
      for (const Statement& s : puzzle.said[i]) tables.push_back(moved(table_of(s, puzzle.people)));
      std::ranges::sort(tables);
      for (const uint32_t table : tables) parts[static_cast<size_t>(place[i])] += fmt::format(" {:x}", table);
    }
    const std::string text = fmt::format("{}", fmt::join(parts, " |"));
    if (least.empty() || text < least) least = text;
  } while (std::ranges::next_permutation(place).found);
  return fmt::format("knights_knaves {}{}", puzzle.people, least);
}

Statement draw_statement(Random& random, int speaker, int people, int level) {
  constexpr std::array kEasy{Kind::is, Kind::is, Kind::same, Kind::different, Kind::exactly, Kind::at_least};
  constexpr std::array kAll{Kind::is,        Kind::both,    Kind::either,   Kind::implies, Kind::same,
                            Kind::different, Kind::exactly, Kind::at_least, Kind::at_most};
  constexpr std::array kHard{Kind::both,      Kind::either,  Kind::implies,  Kind::implies,
                             Kind::different, Kind::exactly, Kind::at_least, Kind::at_most};
  Statement s;
  // With two people, few simple statements are possible.
  s.kind = level == 1 && people > 2 ? pick(random, kEasy)
           : level < 3              ? pick(random, kAll)
                                    : pick(random, kHard);
  s.a = static_cast<int>(random.below(people));
  s.b = (s.a + 1 + static_cast<int>(random.below(people - 1))) % people;
  if (s.kind == Kind::is && s.a == speaker) std::swap(s.a, s.b);  // "I am a knight" says nothing
  s.a_knight = random.below(2) == 0;
  s.b_knight = random.below(2) == 0;
  s.count = static_cast<int>(
      random.between(s.kind == Kind::exactly ? 0 : 1, s.kind == Kind::exactly ? people : people - 1));
  return s;
}

struct Drawn {
  Puzzle puzzle;
  uint32_t solution = 0;
  std::string key;
};

Drawn draw(Random& random, int level) {
  for (;;) {
    Drawn out;
    const int people = level == 1 ? static_cast<int>(random.between(2, 3)) : level + 1;
    out.puzzle.people = people;
    for (int speaker = 0; speaker < people; ++speaker) {
      auto& said = out.puzzle.said.emplace_back();
      const bool two = people == 2 ? random.below(2) == 0 : level > 1 && random.below(5) == 0;
      for (int i = 0; i < (two ? 2 : 1); ++i) said.push_back(draw_statement(random, speaker, people, level));
      if (two && table_of(said[0], people) == table_of(said[1], people)) said.pop_back();
    }
    if (const auto solution = solve(out.puzzle)) {
      out.solution = *solution;
      out.key = content_of(out.puzzle);
      return out;
    }
  }
}

// ---- words ----

constexpr std::array<std::string_view, 24> kNames{"Ann",  "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal",
                                                  "Ida",  "Jon", "Kim", "Leo", "Mia", "Ned", "Ola", "Pam",
                                                  "Quin", "Ray", "Sue", "Tom", "Una", "Vic", "Wes", "Zoe"};

std::vector<std::string> draw_names(Random& random, int people) {
  std::vector<std::string> names(kNames.begin(), kNames.end());
  random.shuffle(names);
  names.resize(static_cast<size_t>(people));
  return names;
}

// "one of us is a knight", "two of us are knights"
std::string write_count(int count, bool knights) {
  constexpr std::array<std::string_view, 5> kCounts{"zero", "one", "two", "three", "four"};
  const std::string_view role = knights ? "knight" : "knave";
  if (count == 1) return fmt::format("one of us is a {}", role);
  return fmt::format("{} of us are {}s", kCounts[static_cast<size_t>(count)], role);
}

std::string write(const Statement& s, int speaker, const std::vector<std::string>& names) {
  const auto name = [&](int i) { return i == speaker ? std::string("I") : names[static_cast<size_t>(i)]; };
  const auto is = [&](int i, bool knight) {
    return fmt::format("{} {} a {}", name(i), i == speaker ? "am" : "is", knight ? "knight" : "knave");
  };
  const std::string a = is(s.a, s.a_knight), b = is(s.b, s.b_knight);
  // The speaker comes last: "Bob and I".
  const bool turned = s.a == speaker;
  const std::string pair = name(turned ? s.b : s.a) + " and " + name(turned ? s.a : s.b);
  switch (s.kind) {
    case Kind::is:
      return a;
    case Kind::both:
      return a + " and " + b;
    case Kind::either:
      return a + " or " + b + ", or both";
    case Kind::implies:
      return "if " + a + ", then " + b;
    case Kind::same:
      return pair + " are of the same kind";
    case Kind::different:
      return pair + " are of different kinds";
    case Kind::exactly:
      if (s.count == 0) return fmt::format("none of us is a {}", s.a_knight ? "knight" : "knave");
      return "exactly " + write_count(s.count, s.a_knight);
    case Kind::at_least:
      return "at least " + write_count(s.count, s.a_knight);
    case Kind::at_most:
      break;
  }
  return "at most " + write_count(s.count, s.a_knight);
}

std::string write_statements(Random& random, const Puzzle& puzzle, const std::vector<std::string>& names) {
  constexpr auto kSays = std::to_array<std::string_view>({"says", "says", "claims", "states", "tells you"});
  const std::string_view says = pick(random, kSays);
  const bool script = random.below(4) == 0;  // Ann: "..."
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t k = 0; k < puzzle.said[i].size(); ++k) {
      std::string text = write(puzzle.said[i][k], static_cast<int>(i), names);
      text[0] = to_upper(text[0]);
      if (!out.empty()) out += ' ';
      out += script ? fmt::format("{}: \"{}.\"", names[i], text)
                    : fmt::format("{} {}{}: \"{}.\"", names[i], k == 0 ? "" : "also ", says, text);
    }
  }
  return out;
}

constexpr auto kForms = std::to_array<std::string_view>({
    "Knights always tell the truth and knaves always lie. [You meet|Here are|There are] $p. $s [Who is "
    "what?|Who is a "
    "knight and who is a knave?|What is each of them?]",
    "On an island every person is a knight, who always tells the truth, or a knave, who always lies. You "
    "meet "
    "$p. $s [Say who is what.|Which of them are knights and which are knaves?]",
    "$p are each a knight (always truthful) or a knave (always lying). $s [Find out who is what.|Who is "
    "what?]",
    "A knight only says true things, a knave only false ones. $s What [is each person|are they]?",
    "Knights and knaves with $p: $s Who is a knight, who a knave?",
    "[Solve this knights and knaves puzzle|Knights and knaves]. $s",
    "Each of $p is a truthful knight or a lying knave. $s Tell me the kind of each.",
});

}  // namespace

Problem make_knights_knaves(Random& random, int level, Split split) {
  const Drawn drawn = draw_in_split(split, [&] { return draw(random, level); });
  const std::vector<std::string> names = draw_names(random, drawn.puzzle.people);
  std::string people;
  Json gold = Json::object();
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) people += i + 1 == names.size() ? " and " : ", ";
    people += names[i];
    gold.set(names[i], (drawn.solution >> i & 1) != 0 ? "knight" : "knave");
  }
  const std::string statements = write_statements(random, drawn.puzzle, names);
  return {.task = "knights_knaves",
          .question = phrase(random, kForms, {{'p', people}, {'s', statements}}),
          .gold = gold.dump(),
          .key = drawn.key};
}

}  // namespace r1
