#include "cli/progress.h"

#include <gtest/gtest.h>

#include <cmath>

namespace r1::progress_test {
namespace {

TEST(Progress, BarsHaveEighthsOfACell) {
  EXPECT_EQ(bar(0.5, 4, false), "##  ");
  EXPECT_EQ(bar(0.0, 3, true), "   ");
  EXPECT_EQ(bar(1.0, 2, true), "\u2588\u2588");
  EXPECT_EQ(bar(0.25 + 0.25 / 2, 4, true), "\u2588\u258C  ");  // one cell and a half
  EXPECT_EQ(bar(1.0 / 16, 2, true), "\u258F ");
  EXPECT_EQ(bar(7.0, 2, false), "##");
  EXPECT_EQ(bar(std::nan(""), 2, false), "  ");
}

TEST(Progress, TimesAndCountsAreShort) {
  EXPECT_EQ(short_time(0.4), "0s");
  EXPECT_EQ(short_time(140), "2m20s");
  EXPECT_EQ(short_time(3725), "1h02m");
  EXPECT_EQ(short_count(512), "512");
  EXPECT_EQ(short_count(25100), "25.1k");
  EXPECT_EQ(short_count(2.5e6), "2.5M");
}

struct Screen {
  std::string text;
  double now = 0;
  TerminalReporter reporter(TerminalStyle style) {
    return TerminalReporter([this](std::string_view t) { text += t; }, [this] { return now; }, style);
  }
};

Json pretrain_row(int64_t step) {
  return Json::object().set("step", step).set("loss", 0.5123).set("lr", 9.8e-4).set("tokens_per_s", 25100.0);
}

TEST(Progress, ReinforcementLearningIsALineAStepWithBarsOnOneScale) {
  Screen screen;
  auto reporter = screen.reporter({.terminal = true, .utf8 = false});
  for (int64_t step = 1; step <= 3; ++step) {
    screen.now += 3;
    reporter.step(Json::object()
                      .set("step", step)
                      .set("accuracy", 0.25 * static_cast<double>(step))
                      .set("thinking_correct", 20.0 * static_cast<double>(step))
                      .set("step_s", 2.9),
                  60);
  }
  EXPECT_EQ(screen.text,
            "step  1/60  accuracy ####             0.25  thinking ####               20 tok  2.9 s/step\n"
            "step  2/60  accuracy ########         0.50  thinking ########           40 tok  2.9 s/step  ETA "
            "2m54s\n"
            "step  3/60  accuracy ############     0.75  thinking ############       60 tok  2.9 s/step  ETA "
            "2m51s\n");
}

TEST(Progress, PretrainingIsRewrittenInPlaceOnATerminal) {
  Screen screen;
  {
    auto reporter = screen.reporter({.terminal = true, .utf8 = true});
    reporter.step(pretrain_row(1), 10);
    screen.now = 2;
    reporter.step(pretrain_row(2), 10);
    reporter.note("checkpoint");
    reporter.step(pretrain_row(3), 10);
  }
  EXPECT_EQ(screen.text,
            "\rstep  1/10  loss 0.512  lr 9.80e-04  25.1k tok/s"
            "\rstep  2/10  loss 0.512  lr 9.80e-04  25.1k tok/s  ETA 16s\n"
            "checkpoint\n"
            "\rstep  3/10  loss 0.512  lr 9.80e-04  25.1k tok/s  ETA 13s\n");
}

TEST(Progress, PretrainingIsQuietElsewhere) {
  Screen screen;
  auto reporter = screen.reporter({});
  for (int64_t step = 1; step <= 120; ++step) reporter.step(pretrain_row(step), 120);
  EXPECT_EQ(std::ranges::count(screen.text, '\n'), 4) << screen.text;  // 1, 50, 100, 120
  EXPECT_EQ(screen.text.find('\r'), std::string::npos);
}

}  // namespace
}  // namespace r1::progress_test
