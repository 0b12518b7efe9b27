// GBNF grammars: what they accept, and what is refused.
#include "engine/grammar/gbnf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "base/error.h"
#include "engine/grammar/grammar.h"
#include "formats/json.h"

namespace r1::gbnf_test {
namespace {

bool matches(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarState state(grammar);
  return state.accept(text) && state.is_complete();
}

bool matches(std::string_view gbnf, std::string_view text) {
  return matches(Grammar::from_gbnf(gbnf, "test.gbnf"), text);
}

std::string error_of(std::string_view gbnf) {
  try {
    Grammar::from_gbnf(gbnf, "test.gbnf");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Gbnf, AcceptsAndRejectsAsThePublishedCases) {
  const char* data = std::getenv("R1_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "R1_TEST_DATA is not set: gbnf_accept_reject.jsonl is not tested";
  std::ifstream file(std::string(data) + "/structured/gbnf_accept_reject.jsonl");
  ASSERT_TRUE(file) << data;
  int grammars = 0, strings = 0;
  for (std::string line; std::getline(file, line);) {
    const Json row = parse_json(line, "gbnf_accept_reject.jsonl");
    if (row.get_string("kind") != "gbnf") continue;
    ++grammars;
    const auto grammar = Grammar::from_gbnf(row.get_string("grammar"), row.get_string("name"));
    for (const Json& text : row.at("accept").items()) {
      EXPECT_TRUE(matches(grammar, text.string())) << row.get_string("grammar") << "\n" << text.string();
      ++strings;
    }
    for (const Json& text : row.at("reject").items()) {
      EXPECT_FALSE(matches(grammar, text.string())) << row.get_string("grammar") << "\n" << text.string();
      ++strings;
    }
  }
  EXPECT_EQ(grammars, 12);
  EXPECT_GT(strings, 100);
}

TEST(Gbnf, ReadsGroupsRepetitionsSetsEscapesAndComments) {
  EXPECT_TRUE(matches("root ::= \"a\" (\"b\" | \"c\"){2,3} # end\n", "abcb"));
  EXPECT_FALSE(matches("root ::= \"a\" (\"b\" | \"c\"){2,3} # end\n", "ab"));
  EXPECT_TRUE(matches("# first\nroot ::= x\n\n# then\nx ::= [a-c]\n  | \"\\x41\\u00e9\\U0001F600\\n\"",
                      "A\u00e9\U0001F600\n"));
  EXPECT_TRUE(matches("root ::= (\n  \"a\" # one\n  \"b\"\n)*", "abab"));
  EXPECT_TRUE(matches("root ::= [^a-z\"\\]-]", "\u4e16"));
  EXPECT_FALSE(matches("root ::= [^a-z\"\\]-]", "]"));
  EXPECT_FALSE(matches("root ::= [^a-z\"\\]-]", "-"));
  EXPECT_TRUE(matches("root ::= (\"a\"*)* (\"b\"?){3} \"\"*", "aab"));
  EXPECT_TRUE(matches("root ::= \"a\"{2}{3}", "aaaaaa"));
  EXPECT_FALSE(matches("root ::= \"a\"{2}{3}", "aaaaa"));
  EXPECT_TRUE(matches("root ::= | \"a\"\r\nb_1 ::= \"x\"\r\n", ""));
}

TEST(Gbnf, BytesMayBeCutInsideACharacter) {
  GrammarState state(Grammar::from_gbnf("root ::= [\u4e00-\u4e20]+", "test.gbnf"));
  EXPECT_TRUE(state.accept("\xe4"));
  EXPECT_FALSE(state.is_complete());
  EXPECT_TRUE(state.accept("\xb8"));
  EXPECT_TRUE(state.can_continue());
  GrammarState other = state;
  EXPECT_TRUE(state.accept("\x96"));
  EXPECT_TRUE(state.is_complete());
  EXPECT_FALSE(other.accept("\xa1"));  // U+4E21
  EXPECT_TRUE(other.is_dead());
  EXPECT_FALSE(other.accept("\x96"));
}

TEST(Gbnf, EveryCharacterSetReadsExactlyItsCharacters) {
  const auto grammar =
      Grammar::from_gbnf("root ::= [\\x41-\\u0234\\u07F0-\\U00010400\\U0001F601-\\U0001F60F]", "test.gbnf");
  for (uint32_t code = 1; code <= 0x1FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    if (code < 0x80) {
      text = {static_cast<char>(code)};
    } else if (code < 0x800) {
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    } else if (code < 0x10000) {
      text = {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
              static_cast<char>(0x80 | (code & 63))};
    } else {
      text = {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
              static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
    }
    const bool inside = (code >= 0x41 && code <= 0x234) || (code >= 0x7F0 && code <= 0x10400) ||
                        (code >= 0x1F601 && code <= 0x1F60F);
    ASSERT_EQ(matches(grammar, text), inside) << std::hex << code;
  }
  EXPECT_FALSE(matches(grammar, "\xed\xa0\x80"));  // a surrogate
  EXPECT_FALSE(matches(grammar, "\xc1\x81"));      // an overlong A
}

TEST(Gbnf, AmbiguityDoesNotMultiplyStates) {
  // Read naively, every "a" doubles the ways to read the text.
  const std::string gbnf = "root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"x\"";
  const auto grammar = Grammar::from_gbnf(gbnf, "test.gbnf");
  std::string text(200, 'a');
  text += 'x';
  for (int i = 0; i < 200; ++i) text += i % 3 == 0 ? 'b' : 'c';
  EXPECT_TRUE(matches(grammar, text));
  EXPECT_FALSE(matches(grammar, text + "b"));
  EXPECT_TRUE(matches("root ::= (\"a\" | \"aa\" | [a-c])*", std::string(5000, 'a')));
}

TEST(Gbnf, RecursionAtTheEndNeedsNoDeeperStack) {
  const auto grammar = Grammar::from_gbnf("root ::= item | item \",\" root\nitem ::= [0-9]+", "test.gbnf");
  GrammarState a(grammar), b(grammar);
  a.accept("1,2,");
  b.accept("1,22,3,4,5,");
  EXPECT_EQ(a.number(), b.number());
}

TEST(Gbnf, CountsLongRepetitionsWithoutUnrollingThem) {
  const auto grammar = Grammar::from_gbnf("root ::= ((\"a\"{1000}){100})", "test.gbnf");
  GrammarState state(grammar);
  EXPECT_TRUE(state.accept(std::string(99'999, 'a')));
  EXPECT_FALSE(state.is_complete());
  EXPECT_TRUE(state.accept("a"));
  EXPECT_TRUE(state.is_complete());
  EXPECT_FALSE(state.can_continue());
}

TEST(Gbnf, RefusesWhatItCannotRunInOneLine) {
  EXPECT_EQ(error_of("x ::= \"a\""), "test.gbnf: the grammar has no rule \"root\"");
  EXPECT_EQ(error_of("root ::= x\n"), "test.gbnf:1: rule \"x\" is not defined");
  EXPECT_EQ(error_of("root ::= \"a\"\nroot ::= \"b\""), "test.gbnf:2: rule \"root\" is defined twice");
  EXPECT_EQ(error_of("root ::= \"a"), "test.gbnf:1: the text has no closing \"");
  EXPECT_EQ(error_of("root ::= [a-"), "test.gbnf:1: the set has no closing ]");
  EXPECT_EQ(error_of("root ::= [z-a]"), "test.gbnf:1: a range of a set ends before it begins");
  EXPECT_EQ(error_of("root ::= (\"a\"\n"), "test.gbnf:2: \")\" must come here, not the end of the line");
  EXPECT_EQ(error_of("root ::= \"a\"\n\nroot2 = \"b\""), "test.gbnf:3: ::= must come here, not \"= \"b\"\"");
  EXPECT_EQ(error_of("root ::= \"a\"{3,2}"), "test.gbnf:1: {3,2} has a maximum below its minimum");
  EXPECT_EQ(error_of("root ::= \"\\q\""), "test.gbnf:1: the escape \"\\q\" is unknown");
  EXPECT_EQ(error_of("root ::= \"\\uD800\""), "test.gbnf:1: U+D800 is no character");
  EXPECT_EQ(error_of("root ::= <think>"),
            "test.gbnf:1: references to tokens (<...>) are not supported; write the text instead");
  EXPECT_EQ(error_of("root ::= \"\xff\""), "test.gbnf:1: the grammar is not UTF-8");
  EXPECT_NE(error_of("root ::= x \"a\" | \"b\"\nx ::= y?  root\ny ::= \"c\"").find("can begin with itself"),
            std::string::npos);
  EXPECT_NE(error_of("root ::= \"a\" root").find("rule \"root\" never ends"), std::string::npos);
  EXPECT_NE(error_of("root ::= []").find("never ends"), std::string::npos);
}

TEST(Gbnf, AnAlternativeThatNeverEndsIsLeftOut) {
  EXPECT_TRUE(matches("root ::= \"a\" | \"b\" x\nx ::= \"c\" x", "a"));
  GrammarState state(Grammar::from_gbnf("root ::= \"a\" | \"b\" x\nx ::= \"c\" x", "test.gbnf"));
  EXPECT_FALSE(state.accept("b"));
}

TEST(Gbnf, HostileGrammarsAreRefusedWithinBounds) {
  EXPECT_EQ(error_of(std::string(100'000'000, '#')),
            "test.gbnf: the grammar is 100000000 bytes long; it must be at most 4194304");
  EXPECT_EQ(error_of("root ::= " + std::string(100'000, '(')),
            "test.gbnf:1: groups are nested more than 200 deep");
  EXPECT_EQ(error_of("root ::= \"a\"{99999999999}"), "test.gbnf:1: a repetition has a number above 1000000");
  std::string sets = "root ::= ";
  for (int i = 0; i < 100'000; ++i) sets += fmt::format("[\\U{:08X}-\\U000EFFF0]", i);
  EXPECT_NE(error_of(sets).find("more than 1000000 parts"), std::string::npos);
  // A chain of rules is no recursion of the program.
  std::string chain;
  for (int i = 0; i < 10'000; ++i)
    chain += fmt::format("{} ::= r{}\n", i == 0 ? "root" : fmt::format("r{}", i), i + 1);
  EXPECT_TRUE(matches(chain + "r10000 ::= \"a\"", "a"));
  // Texts that can be read in too many ways end with one line.
  GrammarState state(Grammar::from_gbnf("root ::= ((\"a\"{1,900000}){1,900000}){1,900000}", "test.gbnf"));
  try {
    state.accept(std::string(1'000, 'a'));
    FAIL() << "no bound";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("test.gbnf: the grammar is too ambiguous"), std::string::npos);
  }
}

TEST(JsonObject, AcceptsObjectsOnly) {
  const auto grammar = Grammar::json_object();
  for (const char* text :
       {"{}", "{ }", R"({"a": [1, -0.5e+7, {"b":null}], "c\n\u00e9\ud83d\ude00": "x"})", R"({ "a":true })"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"", "[]", "1", "{\"a\":}", "{\"a\": 01}", "{\"a\":  1}", "{\"\\ud83d\": 1}",
                           "{\"a\": \"\n\"}", "{\"a\": 1,}", "{}{}"})
    EXPECT_FALSE(matches(grammar, text)) << text;
}

}  // namespace
}  // namespace r1::gbnf_test
