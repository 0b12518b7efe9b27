// The update of the router's selection bias moves every entry by exactly gamma, or not at all.
#include "ops/moe/moe.h"
#include "tests/ops/test_util.h"

namespace r1::selection_bias_test {
namespace {

TEST(MoeBalance, BiasMovesTowardsTheMeanAndCountsAreCleared) {
  test::OwnedParameter bias(Shape{4}, std::vector<float>{0, 0.5f, 1, -1}, false);
  MoeStats stats{{7, 3, 5, 5}};
  test::OpRun op(false);
  update_selection_bias(op.ctx, bias.p, stats, 0.125f);
  EXPECT_EQ(test::to_vector(bias.p.value), (std::vector<float>{-0.125f, 0.625f, 1, -1}));
  EXPECT_EQ(stats.selected, (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(bias.p.version, 2u);
  update_selection_bias(op.ctx, bias.p, stats, 0.125f);
  EXPECT_EQ(bias.p.value.f32()[0], -0.125f) << "nothing was counted, nothing may move";
}

}  // namespace
}  // namespace r1::selection_bias_test
