// A model that a GPU cannot hold is refused in one line, which says what would fit.
#include "cli/gpu_room.h"

#include <gtest/gtest.h>

#include "model/known_models.h"

namespace r1::gpu_room_test {

constexpr int64_t kGiB = int64_t{1} << 30;

std::string error_of(int64_t free, Numerics numerics = Numerics::cuda_bf16, DType stored = DType::bf16) {
  const ModelConfig config = *known_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B");
  return gpu_room_error(config, uniform_formats(stored), numerics, "a card", free);
}

TEST(GpuRoom, AModelThatFitsIsNoError) {
  EXPECT_EQ(error_of(24 * kGiB), "");
  EXPECT_EQ(error_of(40 * kGiB, Numerics::cpu_f32), "");
}

TEST(GpuRoom, SaysWhatIsNeededWhatIsFreeAndWhatFits) {
  const std::string eight = error_of(8 * kGiB);
  EXPECT_NE(
      eight.find(
          "the weights need 15.2 GB in cuda-bf16, and a card has 8.59 GB free: --quantize Q5_K_M takes 5."),
      std::string::npos)
      << eight;
  EXPECT_TRUE(eight.ends_with("; or use --device cpu")) << eight;
  EXPECT_EQ(eight.find('\n'), std::string::npos);
}

TEST(GpuRoom, F32OnAGpuIsHeldInF32WhateverTheFileHolds) {
  EXPECT_TRUE(error_of(24 * kGiB, Numerics::cpu_f32).ends_with("use --dtype bf16, or --device cpu"));
}

TEST(GpuRoom, SaysThatNothingFits) {
  EXPECT_TRUE(error_of(kGiB / 2).ends_with("no type of weights fits: use --device cpu"));
}

}  // namespace r1::gpu_room_test
