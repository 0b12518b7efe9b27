// Public cases and real answers (R1_TEST_DATA): answers that other graders accept are accepted here.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/jsonl.h"
#include "reward/math/math_verifier.h"

namespace r1::math_data_test {
namespace {

std::filesystem::path data(const std::string& name) {
  const char* given = std::getenv("R1_TEST_DATA");
  return std::filesystem::path(given != nullptr ? given : R1_SOURCE_DIR "/../shared/data") / "verifier" /
         name;
}

#define R1_NEED(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NOT TESTED: no " << path << " (set R1_TEST_DATA)"

TEST(MathData, EnglishExtractionCases) {
  const auto path = data("lighteval_extractive_cases.jsonl");
  R1_NEED(path);
  int cases = 0, right = 0;
  std::string wrong;
  for (const Json& row : read_jsonl(path)) {
    const Json& options = row.at("options");
    if (options.get_string_or("language", "Language.ENGLISH") != "Language.ENGLISH") continue;
    const bool correct = MathVerifier(row.get_string("gold"), read_math_options(options))
                             .verify(row.get_string("pred"))
                             .correct;
    ++cases;
    right += correct == row.get_bool("expected");
    if (correct != row.get_bool("expected")) wrong += row.get_string("source") + "\n";
  }
  EXPECT_GT(cases, 200);
  EXPECT_GE(right, 0.95 * cases) << wrong;
}

TEST(MathData, NormalizerCases) {
  const auto path = data("normalizer_cases.jsonl");
  R1_NEED(path);
  int cases = 0;
  for (const Json& row : read_jsonl(path)) {
    const Json& args = row.at("args");
    const bool strings = args.contains("raw");
    const std::string& given = args.get_string(strings ? "raw" : "given");
    const std::string& gold = args.get_string(strings ? "expected" : "gt");
    EXPECT_EQ(MathVerifier(gold).judge(given), "ok") << given << "   " << gold;
    ++cases;
  }
  EXPECT_EQ(cases, 31);
}

TEST(MathData, AgreesWithTheGradersOfRealAnswers) {
  const auto path = data("math_model_answers.jsonl");
  R1_NEED(path);
  int cases = 0, agree = 0;
  for (const Json& row : read_jsonl(path)) {
    const bool correct = MathVerifier(row.get_string("gold")).verify(row.get_string("pred")).correct;
    ++cases;
    agree += correct == row.get_bool("expected");
    if (correct != row.get_bool("expected")) ADD_FAILURE() << row.dump().substr(0, 200);
  }
  EXPECT_EQ(cases, 400);
  EXPECT_EQ(agree, cases);
}

}  // namespace
}  // namespace r1::math_data_test
