// tests/gpu/speed_test.cc: the measurements of `r1 bench` and `r1 plan` on a GPU.
#include "engine/speed.h"

#include "tests/gpu/device.h"
#include "tests/gpu/model_case.h"

namespace r1::speed_test {
using namespace test;

class CudaSpeed : public OnDevice {};

// The model keeps copies for the GPU that the first meter makes.
TEST_F(CudaSpeed, MetersOfOneModelFollowEachOther) {
  ThreadPool threads(2);
  for (const auto& [name, json] : families()) {
    for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cuda_bf16}) {
      const Model model = random_model(json, cuda_memory());
      for (int i = 0; i < 3; ++i) {
        SpeedMeter meter(model, threads, numerics, 4, 128);
        EXPECT_GT(meter.decode_step(1 + i, 40, 8), 0) << name;
        EXPECT_GT(meter.prefill(4, 0, 64), 0) << name;
      }
    }
  }
}

}  // namespace r1::speed_test
