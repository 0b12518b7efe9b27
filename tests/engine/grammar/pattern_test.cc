// Regular expressions: what they match, and what is refused by its name.
#include "engine/grammar/pattern.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace r1::pattern_test {
namespace {

std::string refusal_of(const std::string& pattern, CodeAutomaton (*read)(std::string_view)) {
  try {
    read(pattern);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// A random pattern of what ECMAScript and we both know, over the letters a, b and c.
std::string random_pattern(Random& random, int depth = 0) {
  std::string out;
  const int64_t parts = random.between(depth == 0 ? 1 : 0, 3);
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t kind = random.below(depth < 3 ? 8 : 5);
    if (kind < 3) {
      out += static_cast<char>('a' + random.below(3));
    } else if (kind == 3) {
      out += random.below(2) == 0 ? "[ab]" : "[^b]";
    } else if (kind == 4) {
      out += '.';
    } else {
      out += random.below(2) == 0 ? "(" : "(?:";
      out += random_pattern(random, depth + 1);
      if (random.below(2) == 0) out += "|" + random_pattern(random, depth + 1);
      out += ")";
    }
    static constexpr const char* kRepeats[] = {"*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?"};
    if (random.below(3) == 0) out += kRepeats[random.below(std::ssize(kRepeats))];
  }
  return out;
}

std::vector<std::string> short_texts() {
  std::vector<std::string> out{""};
  for (size_t from = 0, length = 0; length < 5; ++length) {
    const size_t end = out.size();
    for (; from < end; ++from) {
      for (const char c : {'a', 'b', 'c'}) out.push_back(out[from] + c);
    }
  }
  return out;
}

TEST(Pattern, MatchesEveryShortTextAsEcmaScriptDoes) {
  Random random(11);
  const std::vector<std::string> texts = short_texts();
  int matched = 0, unmatched = 0;
  for (int i = 0; i < 150; ++i) {
    const std::string pattern = random_pattern(random);
    const std::regex expected(pattern);
    const CodeAutomaton whole = whole_pattern_language(pattern), part = pattern_language("^" + pattern);
    for (const std::string& text : texts) {
      const bool is_match = std::regex_match(text, expected);
      ASSERT_EQ(accepts_text(whole, text), is_match) << pattern << " and \"" << text << "\"";
      ASSERT_EQ(accepts_text(part, text),
                std::regex_search(text, expected, std::regex_constants::match_continuous))
          << "^" << pattern << " and \"" << text << "\"";
      (is_match ? matched : unmatched) += 1;
    }
  }
  EXPECT_GT(matched, 3000);
  EXPECT_GT(unmatched, 3000);
}

TEST(Pattern, AWholePatternNeedsNoAnchorsAndAllowsThem) {
  for (const char* pattern : {"ab|c", "^ab$|^c$", "^ab|c$"}) {
    const CodeAutomaton language = whole_pattern_language(pattern);
    EXPECT_TRUE(accepts_text(language, "ab")) << pattern;
    EXPECT_TRUE(accepts_text(language, "c")) << pattern;
    EXPECT_FALSE(accepts_text(language, "abc")) << pattern;
    EXPECT_FALSE(accepts_text(language, "xc")) << pattern;
    EXPECT_FALSE(accepts_text(language, "")) << pattern;
  }
  EXPECT_TRUE(accepts_text(pattern_language("b"), "abc"));
  EXPECT_TRUE(accepts_text(whole_pattern_language("(?<first>a)(?P<second>\u4e16){2}"), "a\u4e16\u4e16"));
}

TEST(Pattern, WhatIsNotSupportedIsRefusedByItsName) {
  const std::pair<const char*, const char*> cases[] = {{"a(?!b)", "a look-ahead (?!..)"},
                                                       {"(?<=a)b", "a look-behind (?<=..)"},
                                                       {"(?>a)", "an atomic group"},
                                                       {"(?#why)", "a comment"},
                                                       {"(?(1)a|b)", "a condition"},
                                                       {"(?P=x)", "a back-reference"},
                                                       {"(?s).", "flags (?..)"},
                                                       {"(?<>a)", "a group whose name"},
                                                       {"(?<x", "a group whose name"},
                                                       {"(a)\\2", "the back-reference \\2"},
                                                       {"\\Aa", "\\A"},
                                                       {"a?+", "a possessive repetition"},
                                                       {"a**", "repeats a repetition"},
                                                       {"(a^b)", "^"},
                                                       {"a$b", "behind $"},
                                                       {"a{20001}", "a repetition above 10000"},
                                                       {"(((a{100}){100}){100})", "states"},
                                                       {"(a", "without its )"},
                                                       {"a)", "too many"},
                                                       {"[a", "without its ]"}};
  for (const auto& [pattern, want] : cases) {
    for (const auto read : {pattern_language, whole_pattern_language}) {
      const std::string got = refusal_of(pattern, read);
      EXPECT_NE(got.find(want), std::string::npos) << pattern << ": " << got;
    }
  }
  EXPECT_EQ(refusal_of("a\nb)", pattern_language), "pattern \"a?b)\" has a \")\" too many");  // one line
  EXPECT_NE(refusal_of("a{,3}", whole_pattern_language).find("write {0,..}"), std::string::npos);
}

}  // namespace
}  // namespace r1::pattern_test
