#include "reward/roles.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/ascii.h"
#include "formats/json.h"

namespace r1 {
namespace {

struct Person {
  std::string_view name;
  bool knight = false;
};

bool is_role(std::string_view word) {
  return equal_ignoring_case(word, "knight") || equal_ignoring_case(word, "knave");
}

// Words, and signs of one character; a line end is the sign \n. Empty at the end.
class Symbols {
 public:
  explicit Symbols(std::string_view text) : rest_(text) { next(); }

  std::string_view peek() const { return symbol_; }

  std::string_view take() {
    const std::string_view taken = symbol_;
    next();
    return taken;
  }

  bool take_if(std::string_view wanted) {
    if (symbol_.empty() || !equal_ignoring_case(symbol_, wanted)) return false;
    next();
    return true;
  }

 private:
  void next() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r'))
      rest_.remove_prefix(1);
    size_t size = rest_.empty() ? 0 : 1;
    if (size != 0 && is_letter(rest_[0])) {
      while (size < rest_.size() && is_letter(rest_[size])) ++size;
    }
    symbol_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }

  std::string_view rest_, symbol_;
};

bool take_separators(Symbols& symbols) {
  bool any = false;
  for (bool more = true; more; any |= more) {
    more = false;
    for (const std::string_view one : {",", ";", ".", "\n", "&", "and"}) more = more || symbols.take_if(one);
  }
  return any;
}

// False where the text is no answer.
bool read_roles(std::string_view text, std::vector<Person>& people) {
  Symbols symbols(trim(text));
  if (symbols.peek().empty()) return false;
  while (!symbols.peek().empty()) {
    const std::string_view name = symbols.take();
    if (!is_letter(name[0]) || is_role(name)) return false;
    if (!symbols.take_if(":") && !symbols.take_if("=") && !symbols.take_if("-") && symbols.take_if("is")) {
      symbols.take_if("a");
    }
    const std::string_view role = symbols.take();
    if (!is_role(role)) return false;
    people.push_back({name, equal_ignoring_case(role, "knight")});
    if (!take_separators(symbols) && !symbols.peek().empty()) return false;
  }
  return true;
}

std::string judge_roles(std::string_view answer, const std::vector<Person>& gold) {
  std::vector<Person> said;
  if (!read_roles(answer, said)) return "bad_roles";
  const auto times_said = [&](std::string_view name) {
    return std::ranges::count_if(said, [&](const Person& p) { return equal_ignoring_case(p.name, name); });
  };
  const auto gold_of = [&](std::string_view name) {
    return std::ranges::find_if(gold, [&](const Person& p) { return equal_ignoring_case(p.name, name); });
  };
  bool twice = false, wrong = false;
  for (const Person& person : said) {
    const auto at = gold_of(person.name);
    if (at == gold.end()) return "unknown_person";
    wrong |= at->knight != person.knight;
  }
  bool missing = false;
  for (const Person& person : gold) {
    twice |= times_said(person.name) > 1;
    missing |= times_said(person.name) == 0;
  }
  return twice ? "person_twice" : missing ? "person_missing" : wrong ? "wrong_roles" : "ok";
}

std::vector<Person> read_people(const Json& gold) {
  std::vector<Person> people;
  for (const auto& [name, role] : gold.members()) {
    if (name.empty() || !is_word(name) || is_role(name))
      role.fail("belongs to a name that is no word of letters");
    if (role.string() != "knight" && role.string() != "knave") role.fail("is neither knight nor knave");
    for (const Person& other : people) {
      if (equal_ignoring_case(other.name, name)) role.fail("belongs to a name that is given twice");
    }
    people.push_back({name, role.string() == "knight"});
  }
  if (people.empty()) gold.fail("names nobody");
  return people;
}

}  // namespace

AnswerJudge roles_judge(const Json& gold) {
  // The people's names are views of this copy.
  const auto kept = std::make_shared<const Json>(gold);
  return [kept, people = read_people(*kept)](std::string_view answer) { return judge_roles(answer, people); };
}

}  // namespace r1
