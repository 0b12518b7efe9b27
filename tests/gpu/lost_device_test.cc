// tests/gpu/lost_device_test.cc: a GPU that fails in the middle of a training.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "recipe/stages.h"
#include "tensor/work_stream.h"
#include "tests/gpu/device.h"
#include "tests/gpu/trap_kernel.h"

namespace r1::lost_device_test {
using namespace test;
namespace fs = std::filesystem;

class CudaLostDevice : public OnDevice {};

constexpr int64_t kSteps = 10, kLast = 7;  // checkpoints after 3, 6 and 9 steps; the GPU fails in step 8

class Losing final : public Reporter {
 public:
  explicit Losing(bool lose) : lose_(lose) {}
  void step(const Json& metrics, int64_t) override {
    if (lose_ && metrics.get_int("step") == kLast) lose_device(cuda::work_stream());
  }
  void note(const std::string&) override {}

 private:
  bool lose_;
};

fs::path write_config(const fs::path& folder) {
  fs::create_directories(folder);
  std::ofstream(folder / "tiny.toml")
      << "name = \"tiny\"\nseed = 3\nnumerics = \"cuda-bf16\"\ndevice = \"cuda\"\n"
      << "[model.config]\nmodel_type = \"qwen2\"\nhidden_size = 64\nintermediate_size = 128\n"
      << "num_hidden_layers = 2\nnum_attention_heads = 4\nnum_key_value_heads = 2\nmax_position_embeddings = "
         "256\n"
      << "tie_word_embeddings = true\nrms_norm_eps = 1e-6\ninitializer_range = 0.02\n"
      << "[tokenizer]\nvocab_size = 384\ndocuments = 200\n"
      << "[data]\ntask = \"countdown\"\nloss_on = \"all\"\nmax_tokens = 128\n"
      << "[optimizer]\nlr = 1e-3\nsteps = " << kSteps << "\n"
      << "[batch]\ntokens = 1024\n[checkpoint]\nevery = 3\nkeep = 1\n";
  return folder / "tiny.toml";
}

std::string train(const fs::path& folder, const std::string& out, bool resume, bool lose) {
  ThreadPool threads(2);
  Losing reporter(lose);
  const fs::path model = run_pretrain_config(folder / "tiny.toml", {.resume = resume}, threads, reporter,
                                             {.out = (folder / out).string()});
  std::ifstream file(model / "model.safetensors", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A process of its own loses its GPU, says so in one line, and ends in order.
[[noreturn]] void lose(const fs::path& folder) {
  std::string line;
  try {
    train(folder, "lost", false, true);
  } catch (const Error& e) {
    line = e.what();
  }
  const bool clear = line.find("the GPU stopped working") != std::string::npos &&
                     line.find("--resume") != std::string::npos && line.find('\n') == std::string::npos;
  std::fprintf(stderr, "%s\n", line.c_str());
  std::exit(clear ? 0 : 1);
}

TEST_F(CudaLostDevice, LeavesTheLastCheckpointFromWhichTheRunGoesOnWithTheSameBytes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const fs::path folder = fs::temp_directory_path() / "r1_lost_device_test";
  if (!::testing::internal::InDeathTestChild()) {
    fs::remove_all(folder);
    write_config(folder);
  }
  EXPECT_EXIT(lose(folder), ::testing::ExitedWithCode(0), "the GPU stopped working in ");
  const std::string resumed = train(folder, "lost", true, false);
  EXPECT_GT(resumed.size(), 1000u);
  EXPECT_TRUE(resumed == train(folder, "whole", false, false))
      << "the run that lost its GPU has other weights";
  fs::remove_all(folder);
}

}  // namespace r1::lost_device_test
