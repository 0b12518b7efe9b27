#include "reward/roles.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "formats/json.h"
#include "reward/response.h"

namespace r1::roles_test {
namespace {

Verdict verify_roles(const Json& gold, std::string_view response) {
  return judge_response(response, roles_judge(gold));
}

const char* const kGold = R"({"Ann":"knight","Bob":"knave","Cid":"knave"})";

std::string why(const std::string& answer) {
  const Verdict verdict =
      verify_roles(parse_json(kGold, "gold"), "<think></think><answer>" + answer + "</answer>");
  EXPECT_EQ(verdict.correct, verdict.why == "ok") << answer;
  return verdict.why;
}

TEST(Roles, AcceptsEveryOrderAndTheUsualWordings) {
  for (const char* answer :
       {"Ann is a knight, Bob is a knave, Cid is a knave",
        "Ann is a knight, Bob is a knave, and Cid is a knave.", "Cid: knave; Bob: knave; Ann: knight",
        "bob=knave, ANN=Knight, cid=KNAVE", "Ann knight, Bob knave, Cid knave",
        "Ann: knight\nBob: knave\nCid: knave\n", "Ann - knight & Bob - knave & Cid - knave",
        "Ann is knight and Bob is knave and Cid is knave",
        "  Ann is a\tknight.\n\nBob is a knave.\r\nCid is a knave. "}) {
    EXPECT_EQ(why(answer), "ok") << answer;
  }
}

TEST(Roles, RefusesEverythingElseAndSaysWhy) {
  EXPECT_EQ(why("Ann is a knave, Bob is a knave, Cid is a knave"), "wrong_roles");
  EXPECT_EQ(why("Ann is a knight, Bob is a knight, Cid is a knave"), "wrong_roles");
  EXPECT_EQ(why("Ann is a knight, Bob is a knave"), "person_missing");
  EXPECT_EQ(why("Ann is a knight"), "person_missing");
  EXPECT_EQ(why("Ann is a knight, Bob is a knave, Cid is a knave, Cid is a knave"), "person_twice");
  EXPECT_EQ(why("Ann is a knight, Bob is a knave, Cid is a knave, Cid is a knight"), "person_twice");
  EXPECT_EQ(why("Ann is a knight, Bob is a knave, Dan is a knave"), "unknown_person");
  EXPECT_EQ(why("Ann is a knight, Bob is a knave, Cid is a knave, Dan is a knave"), "unknown_person");
  for (const char* answer : {"",
                             " ",
                             ".",
                             "knight",
                             "Ann",
                             "Ann is a",
                             "Ann is a spy, Bob is a knave, Cid is a knave",
                             "Ann is not a knight, Bob is a knave, Cid is a knave",
                             "Ann is a knight Bob is a knave Cid is a knave",
                             "Ann is a knight or a knave, Bob is a knave, Cid is a knave",
                             "Ann: is a knight, Bob is a knave, Cid is a knave",
                             "Ann is a knight, Bob and Cid are knaves",
                             "knight, knave, knave",
                             "Ann is a knight, Bob is a knave, Cid is a knave!",
                             "So Ann is a knight, Bob is a knave, Cid is a knave",
                             "Ann is a knight, Bob is a knave, Cid is a knave because",
                             ", Ann is a knight, Bob is a knave, Cid is a knave",
                             "Ann is a a knight, Bob is a knave, Cid is a knave",
                             "Ann is a knight1, Bob is a knave, Cid is a knave",
                             "Änn is a knight, Bob is a knave, Cid is a knave",
                             "Ann is an knight, Bob is a knave, Cid is a knave",
                             "knight is a knight, Bob is a knave, Cid is a knave"}) {
    EXPECT_EQ(why(answer), "bad_roles") << answer;
  }
  EXPECT_EQ(verify_roles(parse_json(kGold, "gold"), "Ann is a knight, Bob is a knave, Cid is a knave").why,
            "no_think");
}

TEST(Roles, BadGoldsAreErrors) {
  for (const char* gold :
       {"{}", R"({"Ann":"spy"})", R"({"Ann":1})", R"({"A n":"knight"})", R"({"":"knight"})",
        R"({"Ann":"knight","ann":"knave"})", R"({"knave":"knight"})", R"("knight")", R"({"Ann":"Knight"})"}) {
    EXPECT_THROW(verify_roles(parse_json(gold, "gold"), "<think></think><answer>x</answer>"), Error) << gold;
  }
}

}  // namespace
}  // namespace r1::roles_test
