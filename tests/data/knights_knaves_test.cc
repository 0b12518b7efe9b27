// Reads the statements from the question's text and tries them under every assignment.
#include <algorithm>

#include "tests/data/task_test_util.h"

namespace r1::knights_knaves_test {
namespace {

struct Quote {
  std::string speaker, text;
};

// Ann says: "..." Ann also claims: "..." Bob: "..."
std::vector<Quote> quotes_of(const std::string& question) {
  std::vector<Quote> quotes;
  for (size_t at = 0; (at = question.find(": \"", at)) != std::string::npos;) {
    std::string before = question.substr(0, at);
    for (const char* verb : {" says", " claims", " states", " tells you", " also"}) {
      if (before.ends_with(verb)) before.resize(before.size() - std::string(verb).size());
    }
    if (before.ends_with(" also")) before.resize(before.size() - 5);
    const size_t end = question.find('"', at + 3);
    quotes.push_back({before.substr(before.rfind(' ') + 1), question.substr(at + 3, end - at - 3)});
    at = end;
  }
  return quotes;
}

using Roles = std::map<std::string, bool>;  // knights are true

bool role_of(const Roles& roles, const std::string& speaker, const std::string& who) {
  return roles.at(who == "I" || who == "i" ? speaker : who);
}

// "Bob is a knight", "I am a knave"
bool is_true(const Roles& roles, const std::string& speaker, const std::string& clause) {
  const std::vector<std::string> words = test::words_of(clause);
  EXPECT_EQ(words.size(), 4u) << clause;
  EXPECT_TRUE(words[3] == "knight" || words[3] == "knave") << clause;
  return role_of(roles, speaker, words[0]) == (words[3] == "knight");
}

bool statement_holds(const Roles& roles, const Quote& quote) {
  std::string text = quote.text;
  EXPECT_TRUE(text.ends_with('.')) << text;
  text.pop_back();
  const auto clause = [&](const std::string& part) { return is_true(roles, quote.speaker, part); };
  const auto around = [&](const std::string& middle) {
    const size_t at = text.find(middle);
    return std::pair(text.substr(0, at), text.substr(at + middle.size()));
  };
  if (text.find(" of us ") != std::string::npos) {
    const bool knights = text.find("knight") != std::string::npos;
    const auto counted = std::ranges::count_if(roles, [&](const auto& r) { return r.second == knights; });
    const std::vector<std::string> words = test::words_of(text);
    if (words[0] == "None") return counted == 0;
    const std::vector<std::string> names{"zero", "one", "two", "three", "four"};
    const std::string& name = words[words[0] == "Exactly" ? 1 : 2];
    const auto count = std::ranges::find(names, name) - names.begin();
    if (words[0] == "Exactly") return counted == count;
    EXPECT_TRUE(text.starts_with("At least ") || text.starts_with("At most ")) << text;
    return words[1] == "least" ? counted >= count : counted <= count;
  }
  for (const auto& [ending, same] :
       {std::pair(" are of the same kind", true), std::pair(" are of different kinds", false)}) {
    if (!text.ends_with(ending)) continue;
    text.resize(text.size() - std::string(ending).size());
    const auto [a, b] = around(" and ");
    return (role_of(roles, quote.speaker, a) == role_of(roles, quote.speaker, b)) == same;
  }
  if (text.starts_with("If ")) {
    text = text.substr(3);
    const auto [a, b] = around(", then ");
    return !clause(a) || clause(b);
  }
  if (text.ends_with(", or both")) {
    text.resize(text.size() - 9);
    const auto [a, b] = around(" or ");
    return clause(a) || clause(b);
  }
  if (text.find(" and ") != std::string::npos) {
    const auto [a, b] = around(" and ");
    return clause(a) && clause(b);
  }
  return clause(text);
}

TEST(KnightsKnaves, GoldIsTheOnlyAssignmentThatFitsTheText) {
  std::map<size_t, int> sizes;
  int knights = 0, people = 0;
  test::for_problems("knights_knaves", 300, [&](const Problem& problem, const Json& gold) {
    std::vector<std::string> names;
    Roles want;
    for (const auto& [name, role] : gold.members()) {
      names.push_back(name);
      want[name] = role.string() == "knight";
      knights += want[name];
      ++people;
    }
    ++sizes[names.size()];
    const std::vector<Quote> quotes = quotes_of(problem.question);
    ASSERT_GE(quotes.size(), names.size());
    for (const std::string& name : names) {
      ASSERT_TRUE(std::ranges::any_of(quotes, [&](const Quote& q) { return q.speaker == name; })) << name;
    }
    int solutions = 0;
    for (unsigned bits = 0; bits < 1u << names.size(); ++bits) {
      Roles roles;
      for (size_t i = 0; i < names.size(); ++i) roles[names[i]] = (bits >> i & 1) != 0;
      const bool fits = std::ranges::all_of(
          quotes, [&](const Quote& q) { return statement_holds(roles, q) == roles.at(q.speaker); });
      if (!fits) continue;
      ++solutions;
      ASSERT_EQ(roles, want);
    }
    ASSERT_EQ(solutions, 1);
  });
  ASSERT_EQ(sizes.size(), 3u);
  for (const auto& [size, count] : sizes) EXPECT_GT(count, 100) << size << " people";
  EXPECT_NEAR(static_cast<double>(knights) / people, 0.5, 0.15);  // a constant answer must not pay
}

TEST(KnightsKnaves, ContentForgetsNamesAndOrder) {
  // Many draws of the easiest level give the same content under other names. Their roles must then agree as
  // counts.
  std::map<std::string, std::set<int64_t>> knights_of;
  std::map<std::string, std::set<std::string>> questions_of;
  for (uint64_t i = 0; i < 3000; ++i) {
    const Problem problem = make_problem("knights_knaves:1", 3, i, Split::held_out);
    const Json gold = parse_json(problem.gold, "gold");
    knights_of[problem.key].insert(std::ranges::count_if(
        gold.members(), [](const auto& member) { return member.second.string() == "knight"; }));
    questions_of[problem.key].insert(problem.question);
  }
  size_t most = 0;
  for (const auto& [key, counts] : knights_of) {
    EXPECT_EQ(counts.size(), 1u) << key;
    most = std::max(most, questions_of[key].size());
  }
  EXPECT_GT(most, 20u);
  EXPECT_GT(knights_of.size(), 30u);  // enough contents to hold some out
}

}  // namespace
}  // namespace r1::knights_knaves_test
