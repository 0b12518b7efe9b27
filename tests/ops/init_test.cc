#include "ops/init/init.h"

#include "tests/ops/test_util.h"

namespace r1::init_test {
namespace {
using namespace test;

TEST(FillNormal, DoesNotDependOnThreads) {
  const int64_t n = 30011;
  Random random(5, 9);
  std::vector<float> want(static_cast<size_t>(n));
  for (float& v : want) v = static_cast<float>(random.normal() * 0.3);
  for (const int threads : {1, 3}) {
    OpRun r(false, threads);
    const Tensor t = r.ctx.arena.tensor({n});
    fill_normal(r.ctx, t, {.seed = 5, .stream = 9}, 0.3);
    EXPECT_EQ(to_vector(t), want) << threads;
  }
}

}  // namespace
}  // namespace r1::init_test
