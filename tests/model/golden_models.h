// tests/model/golden_models.h: the tiny checkpoints of tests/golden/models, for tests of every architecture.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace r1::test {

inline const std::filesystem::path kGoldenModels =
    std::filesystem::path(R1_SOURCE_DIR) / "tests/golden/models";

inline constexpr const char* kGoldenNames[] = {"deepseek_v2-groups",
                                               "deepseek_v2-lite",
                                               "deepseek_v3-groups",
                                               "deepseek_v3-moonlight",
                                               "deepseek_v3-no-q-lora",
                                               "deepseek_v3-yarn",
                                               "deepseek_v3-yarn-mscale",
                                               "llama-biases",
                                               "llama-llama3",
                                               "qwen2-tied",
                                               "qwen2-yarn",
                                               "qwen3-tied",
                                               "qwen3-untied",
                                               "qwen3_moe-all",
                                               "qwen3_moe-sparse"};

// For INSTANTIATE_TEST_SUITE_P.
inline std::string golden_test_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace r1::test
