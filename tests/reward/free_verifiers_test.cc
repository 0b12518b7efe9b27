// The verifiers of the user's own tasks: text, regex, json.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"
#include "formats/json.h"
#include "reward/free_answer.h"
#include "reward/pattern_verifier.h"
#include "reward/verifier.h"

namespace r1::free_verifiers_test {
namespace {

Verdict judged(const std::string& task, const std::string& gold, const std::string& response) {
  return Verifier(task, parse_json(gold, "gold")).verify(response);
}
std::string why(const std::string& task, const std::string& gold, const std::string& response) {
  const Verdict verdict = judged(task, gold, response);
  EXPECT_EQ(verdict.correct, verdict.why == "ok");
  return verdict.why;
}
std::string refusal(const std::string& task, const std::string& gold) {
  try {
    Verifier(task, parse_json(gold, "F.jsonl:3"));
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(FreeAnswer, IsFoundWithAndWithoutTags) {
  EXPECT_EQ(free_answer("<think>x</think><answer> Paris </answer>").text, "Paris");
  EXPECT_EQ(free_answer("<think>x</think>\n\nParis\n").text, "Paris");
  EXPECT_EQ(free_answer("Paris").text, "Paris");
  EXPECT_EQ(free_answer("It is <answer>Lyon</answer> no, <answer>Paris</answer>.").text, "Paris");
  EXPECT_EQ(free_answer("<think>so it is Paris").why, "truncated");
  EXPECT_EQ(free_answer("<think>x</think><answer>Par").why, "truncated");
  EXPECT_EQ(free_answer("<think><answer>Paris</answer></think>").why, "no_answer")
      << "an answer in the thought";
  EXPECT_EQ(free_answer(" \n").why, "no_answer");
  EXPECT_EQ(free_answer(std::string(kMaxFreeAnswerBytes + 1, 'x')).why, "too_long");
}

TEST(TextVerifier, CaseSpaceAndPunctuationAroundDoNotCount) {
  for (const char* right :
       {"Paris", "paris.", " PARIS ", "**Paris**", "\"Paris\"", "<think>x</think><answer>Paris</answer>",
        "\xEF\xBC\xB0\xEF\xBD\x81\xEF\xBD\x92\xEF\xBD\x89\xEF\xBD\x93"})  // full width
    EXPECT_EQ(why("text", "\"Paris\"", right), "ok") << right;
  for (const char* wrong : {"Pariss", "Lyon", "Paris, France", "Par is"})
    EXPECT_EQ(why("text", "\"Paris\"", wrong), "wrong_text") << wrong;
  EXPECT_EQ(why("text", "\"New  York\"", "new\nyork"), "ok");
  EXPECT_EQ(why("text", "\"STRASSE\"",
                "stra\xC3\x9F"
                "e"),
            "ok");
  EXPECT_EQ(why("text", "\"[1, 2)\"", "(1, 2]"), "wrong_text");
  EXPECT_EQ(why("text", "5", "-5"), "wrong_text");
  EXPECT_EQ(why("text", "1.50", "1.50"), "ok");
  EXPECT_EQ(why("text", "\"x\"", "..."), "no_answer");
  EXPECT_EQ(judged("text", "\"x\"", "...").status, SampleStatus::refused);
  EXPECT_EQ(judged("text", "\"x\"", "y").status, SampleStatus::scored);
}

TEST(TextVerifier, PoliciesAndSeveralGolds) {
  EXPECT_EQ(why("text", R"(["NYC", "New York"])", "new york"), "ok");
  EXPECT_EQ(why("text", R"({"text": "Paris", "case": "exact"})", "paris"), "wrong_text");
  EXPECT_EQ(why("text", R"({"text": "a b", "space": "ignore"})", "ab"), "ok");
  EXPECT_EQ(why("text", R"({"text": "a b", "space": "exact"})", "a  b"), "wrong_text");
  EXPECT_EQ(why("text", R"({"text": "a-b", "punctuation": "ignore"})", "a, b"), "wrong_text");
  EXPECT_EQ(why("text", R"({"text": "a-b", "punctuation": "ignore", "space": "ignore"})", "a, b!"), "ok");
  EXPECT_EQ(why("text", R"({"text": "Paris.", "punctuation": "exact"})", "Paris"), "wrong_text");
  EXPECT_EQ(refusal("text", R"({"text": "a", "Case": "exact"})"),
            "F.jsonl:3: Case is not a field of a text gold; text, case, space and punctuation are");
  EXPECT_NE(refusal("text", R"({"text": "a", "case": "no"})").find("must be one of ignore, exact"),
            std::string::npos);
  EXPECT_NE(refusal("text", "\"...\"").find("nothing to compare"), std::string::npos);
  EXPECT_NE(refusal("text", "[]"), "");
}

TEST(PatternVerifier, MatchesTheWholeAnswerUnlessItSearches) {
  const char* plate = R"("[A-Z]{2}\\d+")";
  EXPECT_EQ(why("regex", plate, " AB12\n"), "ok");
  EXPECT_EQ(why("regex", plate, "AB12 or so"), "no_match");
  EXPECT_EQ(why("regex", plate, "ab12"), "no_match");
  EXPECT_EQ(why("regex", R"({"pattern": "[A-Z]{2}\\d+", "match": "search"})", "it is AB12, I think"), "ok");
  EXPECT_EQ(why("regex", R"({"pattern": "[A-Z]{2}\\d+", "case": "ignore"})", "ab12"), "ok");
  EXPECT_EQ(why("regex", R"("a|ab")", "ab"), "ok") << "whole means that every alternative is tried";
  EXPECT_EQ(why("regex", R"("\\p{Lu}.")", "\xC3\x89\xC3\xA9"), "ok");
  EXPECT_EQ(why("regex", R"(".*")", "\xFF"), "ok");
  EXPECT_EQ(refusal("regex", R"("(a")"),
            "F.jsonl:3: the pattern cannot be read: missing closing parenthesis at offset 2");
  EXPECT_NE(refusal("regex", R"({"pattern": "a", "match": "all"})"), "");
  EXPECT_NE(refusal("regex", "\"\""), "");
}

TEST(PatternVerifier, AHostilePatternEndsAsTheVerifiersFailure) {
  const Verdict verdict = judged("regex", R"("(a+)+[bd]")", std::string(60, 'a') + "c");
  EXPECT_EQ(verdict.why, "pattern_gave_up");
  EXPECT_EQ(verdict.status, SampleStatus::verifier_failed);
  EXPECT_NE(judged("regex", R"("(?:a|b)*c")", std::string(60'000, 'a')).why, "ok");
  EXPECT_NE(judged("regex", "\"(a(?R)?b)\"", std::string(60'000, 'a')).why, "ok");
}

TEST(JsonVerifier, ComparesTheNamedFieldsByValue) {
  const char* gold = R"({"city": "Paris", "population": 2.1e6, "tags": ["a", 1], "at": {"lat": 48.85}})";
  const char* right =
      R"({"population": 2100000, "city": "Paris", "tags": ["a", 1.0], "at": {"lat": 48.850, "lon": 2}, "extra": null})";
  EXPECT_EQ(why("json", gold, right), "ok");
  EXPECT_EQ(why("json", gold, std::string("<think>x</think><answer>") + right + "</answer>"), "ok");
  EXPECT_EQ(why("json", gold, std::string("Here it is:\n```json\n") + right + "\n```\nDone."), "ok");
  EXPECT_EQ(why("json", gold, R"({"city": "Paris"})"), "missing_field:population");
  EXPECT_EQ(why("json", gold, R"({"city": "paris"})"), "wrong_field:city");
  EXPECT_EQ(why("json", R"({"a": {"b": 1}})", R"({"a": {"b": 2}})"), "wrong_field:a.b");
  EXPECT_EQ(why("json", R"({"a": [1]})", R"({"a": [1, 2]})"), "wrong_field:a");
  EXPECT_EQ(why("json", R"({"a": 1})", R"({"a": "1"})"), "wrong_field:a");
  EXPECT_EQ(why("json", R"({"a": 12345678901234567890})", R"({"a": 12345678901234567891})"), "wrong_field:a");
  EXPECT_EQ(why("json", R"({"a": 0.1})", R"({"a": 0.1000000000000000000001})"), "wrong_field:a");
  EXPECT_EQ(why("json", R"({"a": null})", R"({})"), "missing_field:a");
  EXPECT_EQ(why("json", R"("{\"a\": 1}")", R"({"a": 1})"), "ok");
  EXPECT_EQ(why("json", R"({"a": 1})", "[1]"), "not_an_object");
  EXPECT_EQ(why("json", R"({"a": 1})", "a = 1"), "not_json");
  EXPECT_EQ(judged("json", R"({"a": 1})", "a = 1").status, SampleStatus::refused);
  EXPECT_EQ(why("json", R"({"a": 1})", std::string(1000, '[')), "not_json");
  EXPECT_NE(refusal("json", "{}"), "");
  EXPECT_NE(refusal("json", "3"), "");
}

TEST(Verifier, StatusTellsWrongFromUnreadable) {
  const auto status = [](const char* task, const char* gold, const char* response) {
    return judged(task, gold, response).status;
  };
  EXPECT_EQ(status("arithmetic", "\"4\"", "<think>x</think><answer>5</answer>"), SampleStatus::scored);
  EXPECT_EQ(status("arithmetic", "\"4\"", "<think>x</think><answer>four</answer>"), SampleStatus::refused);
  EXPECT_EQ(status("arithmetic", "\"4\"", "4"), SampleStatus::refused);
  EXPECT_EQ(status("math", "\"4\"", "no idea at all"), SampleStatus::refused);
  EXPECT_EQ(status("math", "\"4\"", "5"), SampleStatus::scored);
}

}  // namespace
}  // namespace r1::free_verifiers_test
