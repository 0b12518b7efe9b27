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
  EXPECT_NE(eight.find("the weights need 15.2 GB in cuda-bf16, and a card has 8.59 GB free: --quantize Q6_K "
                       "takes 6.25 GB"),
            std::string::npos)
      << eight;
  EXPECT_TRUE(eight.ends_with("; or use --device cpu")) << eight;
  EXPECT_EQ(eight.find('\n'), std::string::npos);
}

TEST(GpuRoom, F32TakesMoreThanBf16IfTheFileIsInF32) {
  const std::string halved = error_of(20 * kGiB, Numerics::cpu_f32, DType::f32);
  EXPECT_NE(halved.find("the weights need 30.5 GB in cpu-f32"), std::string::npos) << halved;
  EXPECT_EQ(halved.find("--quantize"), std::string::npos) << halved;
  const std::string quantised = error_of(8 * kGiB, Numerics::cpu_f32);
  EXPECT_NE(quantised.find(": --dtype bf16 --quantize Q6_K takes "), std::string::npos) << quantised;
}

TEST(GpuRoom, SaysThatNothingFits) {
  const std::string line = error_of(kGiB / 2);
  EXPECT_TRUE(line.ends_with("no type of weights fits; or use --device cpu")) << line;
}

}  // namespace r1::gpu_room_test
