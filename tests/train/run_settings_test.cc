// A resumed run is compared setting by setting, and a setting that must not change is named.
#include "train/run_settings.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace r1::run_settings_test {
namespace {

Json settings(const std::string& schedule = "constant") {
  return Json::object()
      .set("seed", 1)
      .set("model", "models/a")
      .set("out", "runs/a")
      .set("optimizer.lr", 0.001)
      .set("optimizer.steps", 60)
      .set("optimizer.schedule", schedule)
      .set("checkpoint.every", 10)
      .set("log.samples_every", 10)
      .set("batch.micro", 4096)
      .set("rollout.batch", 512)
      .set("device", "cpu");
}
const Json kInputs = Json::object().set("model", "abc");

std::string resumed(const Json& before, const Json& now, const Json& inputs = kInputs, int64_t done = 20) {
  try {
    std::string notes;
    for (const std::string& line : check_resumed("OUT", {before, kInputs}, {now, inputs}, done))
      notes += line + "\n";
    return notes;
  } catch (const Error& e) {
    return std::string("refused: ") + e.what();
  }
}

TEST(RunSettings, ARefusalNamesTheKeyAndBothValues) {
  EXPECT_EQ(
      resumed(settings(), settings().set("optimizer.lr", 0.002)),
      "refused: OUT: optimizer.lr is 0.002, the run was begun with 0.001: set it back, or name another out");
  EXPECT_EQ(resumed(settings(), settings().set("loss.kl", 0.1)),
            "refused: OUT: loss.kl is 0.1, the run was begun with not set: set it back, or name another out");
  EXPECT_NE(resumed(settings().set("data.task", "a"), settings())
                .find("data.task is not set, the run was begun with \"a\""),
            std::string::npos);
}

TEST(RunSettings, WhatChangesNoResultMayChange) {
  Json now = settings();
  now.set("out", "elsewhere").set("checkpoint.every", 0).set("log.samples_every", 1).set("batch.micro", 99);
  now.set("rollout.batch", 7).set("device", "cuda").set("checkpoint.keep", 3).set("log.tensorboard", true);
  EXPECT_EQ(resumed(settings(), now), "");
  EXPECT_EQ(fingerprint_of({settings(), kInputs}), fingerprint_of({now, kInputs}));
}

TEST(RunSettings, APathMayChangeIfItsContentDoesNot) {
  const Json moved = settings().set("model", "/elsewhere/a");
  EXPECT_EQ(resumed(settings(), moved), "");
  EXPECT_EQ(fingerprint_of({settings(), kInputs}), fingerprint_of({moved, kInputs}));
  const Json other = Json::object().set("model", "def");
  EXPECT_NE(resumed(settings(), settings(), other)
                .find("model (\"models/a\") does not hold what the run was begun with"),
            std::string::npos);
  EXPECT_NE(fingerprint_of({settings(), kInputs}), fingerprint_of({settings(), other}));
}

TEST(RunSettings, MoreStepsAreAllowedAndAScheduleThatChangesIsSaid) {
  EXPECT_EQ(resumed(settings(), settings().set("optimizer.steps", 100)),
            "optimizer.steps is 100, it was 60\n");
  const std::string cosine = resumed(settings("cosine"), settings("cosine").set("optimizer.steps", 100));
  EXPECT_NE(cosine.find("from step 21 on the cosine schedule falls towards the new last step"),
            std::string::npos)
      << cosine;
  EXPECT_EQ(resumed(settings(), settings().set("optimizer.steps", 20)), "optimizer.steps is 20, it was 60\n");
  EXPECT_NE(resumed(settings(), settings().set("optimizer.steps", 19)).find("the run has done 20 steps"),
            std::string::npos);
}

}  // namespace
}  // namespace r1::run_settings_test
