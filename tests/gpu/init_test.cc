// tests/gpu/init_test.cc: new weights that a device makes have the CPU's bits.
#include "ops/init/init.h"

#include "tests/gpu/device_run.h"

namespace r1::gpu_init_test {
namespace {
using namespace test;

class CudaInit : public OnDevice {};

TEST_F(CudaInit, NormalNumbersHaveTheBitsOfTheCpu) {
  for (const int64_t n : {1, 1000, 300007}) {
    expect_both_agree(
        [&](auto& r) -> std::vector<std::vector<float>> {
          const Tensor t = r.ctx.arena.tensor({n});
          fill_normal(r.ctx, t, {.seed = (uint64_t{7} << 33) + 1, .stream = 12, .first = 5}, 0.02);
          return {values(r, t)};
        },
        std::to_string(n) + " numbers");
  }
}

}  // namespace
}  // namespace r1::gpu_init_test
