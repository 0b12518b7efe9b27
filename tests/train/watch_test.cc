// Warnings of a run, on made-up series.
#include "train/watch.h"

#include <gtest/gtest.h>

namespace r1::watch_test {
namespace {

struct Figures {
  double entropy = 0.5, truncated = 0.05, reward = 0.5, flat = 0.2;
};

Json row_of(int64_t step, const Figures& f) {
  return Json::object()
      .set("step", step)
      .set("entropy", f.entropy)
      .set("truncated", f.truncated)
      .set("reward", f.reward)
      .set("groups_without_signal", f.flat);
}

void add_eval(Json& row, double pass_at_1, double half) {
  row.set("eval.held.pass_at_1", pass_at_1);
  row.set("eval.held.low", pass_at_1 - half).set("eval.held.high", pass_at_1 + half);
}

// Returns all warnings of a series, each with its step.
template <class RowOfStep>
std::vector<std::string> said_of(int64_t steps, const RowOfStep& row, TrainingWatch watch = {}) {
  std::vector<std::string> said;
  for (int64_t step = 1; step <= steps; ++step) {
    for (const std::string& line : watch.add(row(step))) said.push_back(line);
  }
  return said;
}

TEST(TrainingWatch, AHealthyRunIsNotWarnedOf) {
  const auto said = said_of(60, [](int64_t step) {
    const auto t = static_cast<double>(step) / 60;
    Json row = row_of(
        step, {.entropy = 0.5 - 0.35 * t, .truncated = 0.02 + 0.2 * t, .reward = 0.2 + 0.5 * t, .flat = 0.3});
    // Noise of one standard error around a rise.
    if (step % 5 == 0) add_eval(row, 0.2 + 0.4 * t + (step % 2 == 0 ? 0.02 : -0.02), 0.04);
    return row;
  });
  EXPECT_EQ(said, (std::vector<std::string>{}));
}

TEST(TrainingWatch, CollapsedEntropyIsSaidOnceWithTheStep) {
  const auto said =
      said_of(30, [](int64_t step) { return row_of(step, {.entropy = step < 10 ? 0.5 : 0.01}); });
  ASSERT_EQ(said.size(), 1u);
  // Five steps' mean is below 0.05 from step 14 on: (0.5 + 4 * 0.01) / 5 > 0.05 at step 13.
  EXPECT_EQ(said[0].substr(0, 35), "step 14: warning: entropy has colla");
  EXPECT_NE(said[0].find("optimizer.lr"), std::string::npos);
}

TEST(TrainingWatch, AModelThatWasCertainFromTheStartHasNotCollapsed) {
  EXPECT_TRUE(said_of(30, [](int64_t step) { return row_of(step, {.entropy = 0.02}); }).empty());
}

TEST(TrainingWatch, AnswersThatRunToTheCapAreSaidOnce) {
  const auto said = said_of(40, [](int64_t step) {
    return row_of(step, {.truncated = std::min(0.9, 0.03 * static_cast<double>(step))});
  });
  ASSERT_EQ(said.size(), 1u);
  // The window's mean is 0.03 (step - 2): above 0.5 from step 19 on.
  EXPECT_EQ(said[0].find("step 19: warning: answers run to the cap"), 0u) << said[0];
  EXPECT_NE(said[0].find("rollout.max_tokens"), std::string::npos);
}

TEST(TrainingWatch, AFallOfHeldOutAccuracyWhileTheRewardRisesIsSaidOnce) {
  const auto series = [](double half) {
    return [half](int64_t step) {
      Json row = row_of(step, {.reward = 0.3 + 0.01 * static_cast<double>(step)});
      if (step % 10 == 0) add_eval(row, step <= 20 ? 0.5 : 0.5 - 0.02 * static_cast<double>(step - 20), half);
      return row;
    };
  };
  const auto said = said_of(60, series(0.05));
  ASSERT_EQ(said.size(), 1u);
  // The first fall, of 0.2 at step 30, is above 0.05 * sqrt(2).
  EXPECT_EQ(said[0].find("step 30: warning: the reward rises"), 0u) << said[0];
  EXPECT_NE(said[0].find("checkpoint.best = \"held\""), std::string::npos);
  EXPECT_TRUE(said_of(30, series(0.2)).empty()) << "a fall of 0.2 with intervals of +-0.2 may be chance";
}

TEST(TrainingWatch, AFallTogetherWithTheRewardIsNoOveroptimisation) {
  EXPECT_TRUE(said_of(60, [](int64_t step) {
                Json row = row_of(step, {.reward = 0.9 - 0.01 * static_cast<double>(step)});
                if (step % 10 == 0) add_eval(row, 0.9 - 0.01 * static_cast<double>(step), 0.02);
                return row;
              }).empty());
}

TEST(TrainingWatch, StepsWithoutSignalAreSaidOnceAndOnlyIfTheyFollowEachOther) {
  const auto now_and_then =
      said_of(30, [](int64_t step) { return row_of(step, {.flat = step % 3 == 0 ? 0.5 : 1.0}); });
  EXPECT_TRUE(now_and_then.empty());
  const auto said =
      said_of(30, [](int64_t step) { return row_of(step, {.reward = 0, .flat = step < 8 ? 0.5 : 1.0}); });
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].find("step 10: warning: the reward has not varied within any group in 3 steps"), 0u)
      << said[0];
}

TEST(TrainingWatch, ARunThatIsResumedRepeatsNoWarning) {
  const auto row = [](int64_t step) { return row_of(step, {.reward = 0, .flat = 1}); };
  TrainingWatch watch;
  for (int64_t step = 1; step <= 10; ++step) (void)watch.add(row(step));
  for (int64_t step = 11; step <= 20; ++step) EXPECT_TRUE(watch.add(row(step)).empty());
}

}  // namespace
}  // namespace r1::watch_test
