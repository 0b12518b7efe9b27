// The shortest text of a grammar, and parts of grammars: embedded rules, free text up to a word.
#include "engine/grammar/shortest.h"

#include <gtest/gtest.h>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/rules.h"
#include "formats/json.h"

namespace r1::shortest_test {
namespace {

std::string shortest_of_gbnf(const std::string& text) {
  return shortest_text(*Grammar::from_gbnf(text, "test.gbnf")).text.value_or("none");
}

TEST(Shortest, TextsAreWrittenOut) {
  EXPECT_EQ(shortest_of_gbnf("root ::= \"abc\" | \"de\" | \"f\" \"gh\""), "de");
  EXPECT_EQ(shortest_of_gbnf("root ::= [0-9]{3,9} x?\nx ::= \"y\""), "000");
  EXPECT_EQ(shortest_of_gbnf("root ::= \"a\"*"), "");
  EXPECT_EQ(shortest_of_gbnf(
                "root ::= \"(\" root \")\" | \"x\" \"y\" \"z\" \"w\" | n n\nn ::= \"1\" | n2\nn2 ::= \"22\""),
            "11");
  EXPECT_EQ(shortest_of_gbnf("root ::= (a a){2} \"r\"?\na ::= \"p\" | \"qq\""), "pppp");
}

TEST(Shortest, JsonSchemasHaveShortestValues) {
  const auto of = [](const std::string& schema) {
    const ShortestText found = shortest_text(*Grammar::from_json_schema(parse_json(schema, "test"), "test"));
    EXPECT_EQ(static_cast<int64_t>(found.text.value_or("").size()), found.bytes);
    return found.text.value_or("none");
  };
  EXPECT_EQ(of(R"({"type":"object","properties":{"a":{"type":"integer","minimum":10}},"required":["a"]})"),
            R"({"a":10})");
  EXPECT_EQ(of(R"({"type":"array","items":{"enum":["x","yy"]},"minItems":2})"), R"(["x","x"])");
}

TEST(Shortest, TextsThatAreTooLongHaveALengthOnly) {
  const std::string many =
      "root ::= a{1000000}\na ::= b{1000000}\nb ::= c{1000000}\nc ::= d{1000000}\nd ::= \"x\"";
  const ShortestText found = shortest_text(*Grammar::from_gbnf(many, "test.gbnf"));
  EXPECT_FALSE(found.text.has_value());
  EXPECT_EQ(found.bytes, INT64_MAX / 4);
  EXPECT_EQ(shortest_text(*Grammar::from_gbnf("root ::= \"ab\"{40000}", "t")).bytes, 80000);
}

TEST(Shortest, TheFewestTokensOfATextAreCounted) {
  const auto some = std::make_shared<const TokenVocabulary>(
      std::vector<std::string>{"a", "b", "ab", "abc", "bcd", "c", "d"}, std::vector<bool>(7, false));
  EXPECT_EQ(tokens_enough(*some, "abcd"), 2);
  EXPECT_EQ(tokens_enough(*some, "ababab"), 3);
  EXPECT_EQ(tokens_enough(*some, ""), 0);
  EXPECT_EQ(tokens_enough(*some, "abx"), std::nullopt);
}

// The text of fewest bytes is not that of fewest tokens: a limit is refused only if no text keeps it.
TEST(Shortest, ALimitFitsIfAnyTextKeepsIt) {
  const auto words = std::make_shared<const TokenVocabulary>(
      std::vector<std::string>{"z", "q", "hello", "!", "\""}, std::vector<bool>(5, false));
  const auto fits = [&](const std::string& gbnf, int64_t most) {
    const auto grammar = Grammar::from_gbnf(gbnf, "test.gbnf");
    return may_fit(TokenMasks(grammar, words), shortest_text(*grammar), most);
  };
  EXPECT_TRUE(fits("root ::= \"zq\" | \"hello\"", 1));
  EXPECT_TRUE(fits("root ::= \"zq\"", 2));
  EXPECT_FALSE(fits("root ::= \"zq\"", 1));
  EXPECT_FALSE(fits("root ::= \"zqz\" | \"hello!\"", 1));
  EXPECT_TRUE(fits("root ::= \"zqz\" | \"hello!\"", 2));
  EXPECT_TRUE(fits("root ::= \"!\"*", 0));
}

TEST(GrammarRules, AGrammarIsAPartOfAnother) {
  GrammarRules rules;
  const int32_t root = rules.add_rule("root");
  const GrammarItem number = rules.embed(parse_gbnf("root ::= digit+\ndigit ::= [0-9]", "a"));
  const GrammarItem word = rules.embed(parse_gbnf("root ::= letter+ | \"-\"\nletter ::= [a-z]", "b"));
  rules.add_alternative(root, {number, rules.text(":"), word});
  rules.add_alternative(root, {word});
  GrammarState state(Grammar::from_rules(rules, "both"));
  EXPECT_TRUE(state.accept("12:"));
  EXPECT_FALSE(state.is_complete());
  EXPECT_TRUE(state.accept("ab"));
  EXPECT_TRUE(state.is_complete());
  EXPECT_FALSE(state.accept("1"));
}

TEST(ByteAutomaton, FreeTextEndsWhereAWordBegins) {
  GrammarRules rules;
  const int32_t root = rules.add_rule("root");
  const GrammarItem text = rules.scan(bytes_without("<ab<c"));
  rules.add_alternative(root, {text});
  rules.add_alternative(root, {text, rules.text("<ab<c"), rules.text("!")});
  const auto grammar = Grammar::from_rules(rules, "free");
  const auto accepts = [&](std::string_view bytes) {
    GrammarState state(grammar);
    return state.accept(bytes) && state.is_complete();
  };
  EXPECT_TRUE(accepts(""));
  EXPECT_TRUE(accepts("any \xff bytes < <a <ab<ab"));
  EXPECT_FALSE(accepts("x<ab<c"));
  EXPECT_TRUE(accepts("x<ab<c!"));
  EXPECT_TRUE(accepts("<ab<ab<c!"));
  EXPECT_FALSE(accepts("<ab<c! more"));
  EXPECT_FALSE(accepts("<ab<cx"));
}

// Every text over a and b is in a state of its own, and each state has hundreds of places: a mask would take long,
// although no state passes the bound of places.
TEST(TokenMasks, AGrammarThatIsReadInTooManyWaysIsRefusedSoon) {
  constexpr int kRules = 100;
  std::string gbnf = "root ::=";
  for (int i = 0; i < kRules; ++i) gbnf += (i > 0 ? " | x" : " x") + std::to_string(i);
  for (int i = 0; i < kRules; ++i) {
    const std::string n = std::to_string(i + 1);
    gbnf += "\nx" + std::to_string(i) + " ::= [ab]* \"a\" [ab]{" + n + "} \"c\"";
  }
  const auto grammar = Grammar::from_gbnf(gbnf, "test.gbnf");
  std::vector<std::string> pieces{"a", "b"};
  for (size_t i = 0; pieces[i].size() < 12; ++i) {
    const std::string piece = pieces[i];
    pieces.push_back(piece + "a");
    pieces.push_back(piece + "b");
  }
  const std::vector<bool> special(pieces.size(), false);
  const auto all = std::make_shared<const TokenVocabulary>(pieces, special);
  const auto few = std::make_shared<const TokenVocabulary>(std::vector<std::string>{"a", "b", "c"},
                                                           std::vector<bool>(3, false));
  EXPECT_THROW(TokenMasks(grammar, all).mask(GrammarState(grammar)), Error);
  EXPECT_NE(TokenMasks(grammar, few).mask(GrammarState(grammar)), nullptr);
}

}  // namespace
}  // namespace r1::shortest_test
