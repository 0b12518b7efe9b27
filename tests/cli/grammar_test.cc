// --grammar, --json-schema, --regex and the same fields of rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "tests/cli/cli_test_util.h"

namespace r1::grammar_test {
namespace {

using test::r1_run;
using test::rows_of;
using test::write;

const std::string kNano = std::string(R1_SOURCE_DIR) + "/models/r1-nano";

TEST(CliGrammar, AnAnswerFollowsTheFileAndSaysThatItIsComplete) {
  const std::string grammar = write("answer.gbnf", "root ::= \"yes\" | \"no\"\n");
  const auto result = r1_run({"run", kNano, "-p", "Is it?", "--json", "--seed", "1", "--grammar", grammar});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json answer = parse_json(result.out, "run");
  std::string content = answer.get_string("content");
  content.erase(0, content.find_first_not_of('\n'));  // a form may begin after up to two line feeds
  EXPECT_TRUE(!answer.get_bool("complete") || content == "yes" || content == "no") << result.out;
  const auto bad = r1_run({"run", kNano, "-p", "Is it?", "--grammar", write("bad.gbnf", "root ::= x\n")});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("bad.gbnf:1: rule \"x\" is not defined"), std::string::npos) << bad.err;
  const auto both = r1_run({"run", kNano, "-p", "a", "--grammar", grammar, "--json-schema", grammar});
  EXPECT_EQ(both.status, 2);
  EXPECT_NE(both.err.find("give one of --grammar, --json-schema and --regex, not several"), std::string::npos)
      << both.err;
}

TEST(CliGrammar, ARegularExpressionMatchesTheWholeAnswer) {
  const auto result =
      r1_run({"generate", kNano, "--input", "-", "--output", "-", "--samples", "6", "--temperature", "2",
              "--max-tokens", "200", "--regex", "[a-f]{2,5} = -?[0-9]{1,3}"},
             "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"regex\": \"(left|right)!\"}\n"
             "{\"prompt\": \"c\", \"regex\": \"a(?=b)\"}\n"
             "{\"prompt\": \"c\", \"regex\": \"a\", \"grammar\": \"root ::= [0-9]\"}\n");
  EXPECT_EQ(result.status, 2);
  int whole = 0, refused = 0;
  for (const Json& row : rows_of(result.out)) {
    if (row.contains("error")) {
      const std::string& error = row.get_string("error");
      EXPECT_TRUE(error.find("regex: pattern \"a(?=b)\" has a look-ahead") != std::string::npos ||
                  error.find("regex is given beside grammar") != std::string::npos)
          << error;
      ++refused;
      continue;
    }
    if (!row.get_bool("complete")) continue;
    std::string text = row.get_string("text");
    if (const size_t end = text.find("</think>"); end != std::string::npos) text.erase(0, end + 8);
    text.erase(0, text.find_first_not_of('\n'));
    const char* pattern = row.get_int("row") == 0 ? "[a-f]{2,5} = -?[0-9]{1,3}" : "(left|right)!";
    EXPECT_TRUE(std::regex_match(text, std::regex(pattern))) << text;
    ++whole;
  }
  EXPECT_EQ(refused, 2);
  EXPECT_GE(whole, 6);
  const auto bad = r1_run({"run", kNano, "-p", "a", "--regex", "(a)\\1"});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("--regex: pattern \"(a)\\1\" has the back-reference \\1"), std::string::npos)
      << bad.err;
}

TEST(CliGrammar, RowsHaveGrammarsOfTheirOwn) {
  const std::string rows =
      "{\"prompt\": \"a\", \"grammar\": \"root ::= [0-9]{3}\"}\n"
      "{\"prompt\": \"a\", \"json_schema\": {\"enum\": [\"x\", 7]}}\n"
      "{\"prompt\": \"a\", \"json_schema\": {\"nullable\": true}}\n"
      "{\"prompt\": \"a\", \"json_schema\": {}, \"grammar\": \"root ::= [0-9]\"}\n"
      "{\"prompt\": \"a\"}\n";
  std::vector<std::string> words{"generate",     kNano, "--input",       "-", "--output", "-",
                                 "--max-tokens", "300", "--temperature", "1"};
  const auto result = r1_run(words, rows);
  EXPECT_EQ(result.status, 2);
  const auto out = rows_of(result.out);
  ASSERT_EQ(out.size(), 5u) << result.out << result.err;
  EXPECT_TRUE(out[0].contains("complete"));
  EXPECT_TRUE(out[1].contains("complete"));
  EXPECT_NE(out[2].get_string("error").find("json_schema: schema /: keyword \"nullable\" is not supported"),
            std::string::npos);
  EXPECT_NE(out[3].get_string("error").find("json_schema is given beside grammar"), std::string::npos);
  EXPECT_FALSE(out[4].contains("complete"));
  words.insert(words.end(), {"--batch", "1"});
  EXPECT_EQ(r1_run(words, rows).out, result.out);
}

}  // namespace
}  // namespace r1::grammar_test
