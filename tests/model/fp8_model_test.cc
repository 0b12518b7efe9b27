// A tiny DeepSeek-V3 checkpoint in FP8, as R1 is published (tests/ref/make_fp8_golden.py), beside
// transformers' logits of the weights that PyTorch dequantised.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/hf_directory.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/model.h"
#include "model/scoring.h"
#include "tensor/fp8.h"

namespace r1::fp8_model_test {
namespace {

namespace fs = std::filesystem;
const fs::path kFp8 = fs::path(R1_SOURCE_DIR) / "tests/golden/models-fp8";

std::vector<float> logits_of(const Model& model, const SafetensorsFile& expected) {
  const TensorInfo& info = *expected.find("tokens");
  std::vector<int32_t> tokens(static_cast<size_t>(info.count()));
  std::memcpy(tokens.data(), expected.bytes(info).data(), tokens.size() * 4);
  const auto length = static_cast<size_t>(info.shape[1]);
  std::vector<std::span<const int32_t>> rows;
  for (size_t i = 0; i < tokens.size(); i += length) rows.push_back(std::span(tokens).subspan(i, length));
  Arena arena;
  ThreadPool threads(2);
  Context ctx{.arena = arena, .threads = threads};
  const WholeBatch batch = whole_batch(rows);
  const KvCache kv(model.config(), batch.page_count, ctx);
  const Tensor hidden = model.forward(ctx, batch.view(), kv);
  std::vector<float> logits(tokens.size() * static_cast<size_t>(model.config().vocab_size));
  matmul_into(ctx, hidden.f32(), static_cast<int64_t>(tokens.size()), model.head(), logits.data());
  return logits;
}

TEST(Fp8Model, LogitsAreTransformersOfTheDequantisedWeights) {
  const SafetensorsFile expected(kFp8 / "expected.safetensors");
  std::vector<float> want(static_cast<size_t>(expected.find("logits")->count()));
  read_as_f32(expected, *expected.find("logits"), want);
  const auto [low, high] = std::ranges::minmax(want);
  for (const WeightUse use : {WeightUse::training, WeightUse::inference}) {
    const std::vector<float> got = logits_of(Model::load(kFp8, DType::f32, use), expected);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4f * (high - low)) << i;
  }
}

// A frozen model reads its matrices panel by panel, whose rows may begin within a block.
TEST(Fp8Model, ItsWeightsDoNotDependOnItsUse) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    EXPECT_EQ(Model::load(kFp8, dtype, WeightUse::inference).weights_sha256(),
              Model::load(kFp8, dtype, WeightUse::training).weights_sha256());
  }
  EXPECT_EQ(load_model_config(kFp8).dtype, DType::bf16);  // the default of --dtype
}

TEST(Fp8Model, TheLayerThatPredictsFurtherTokensIsNamed) {
  const Model model = Model::load(kFp8);
  ASSERT_EQ(model.warnings().size(), 1u);
  EXPECT_EQ(model.warnings().front(), (kFp8 / "model-00002-of-00002.safetensors").string() +
                                          ": layer 2 predicts further tokens (num_nextn_predict_layers) and "
                                          "is not used: no log-prob depends on "
                                          "it");
}

// Torch's numbers of all codes.
TEST(Fp8Model, CodesAreTorchsNumbers) {
  const SafetensorsFile file(kFp8 / "codes.safetensors");
  std::vector<float> want(256), got(256);
  read_as_f32(file, *file.find("values"), want);
  widen_e4m3(file.bytes(*file.find("codes")), got);
  for (size_t i = 0; i < 256; ++i)
    EXPECT_TRUE(got[i] == want[i] || (got[i] != got[i] && want[i] != want[i])) << i;
}

TEST(Fp8Model, ADamagedCheckpointIsRefusedInOneLine) {
  const fs::path to = fs::temp_directory_path() / ("r1_fp8_model_" + std::to_string(::getpid()));
  const std::string tensor = "model.layers.1.self_attn.o_proj.weight";
  const auto refusal = [&](const std::string& part, std::string_view bytes, WeightUse use) {
    fs::remove_all(to);
    fs::copy(kFp8, to);
    const fs::path file = to / "model-00002-of-00002.safetensors";
    const SafetensorsFile opened(file);
    const TensorInfo& info = *opened.find(tensor + part);
    const uint64_t data = fs::file_size(file) - opened.tensors().back().end;
    std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(data + info.begin));
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    try {
      const Model model = Model::load(to, DType::f32, use);
      model.check_finite();
    } catch (const Error& e) {
      const std::string why = e.what();
      return why.starts_with(file.string()) ? why.substr(file.string().size()) : why;
    }
    return std::string();
  };
  for (const WeightUse use : {WeightUse::training, WeightUse::inference}) {
    EXPECT_EQ(refusal("_scale_inv", std::string_view("\0\0\xC0\x7F", 4), use),
              ": tensor " + tensor +
                  "_scale_inv is NaN at [0, 0]; a scale must be a positive number: the weights are "
                  "damaged");
    EXPECT_EQ(refusal("", "\x7F", use), ": tensor " + tensor + " is NaN at [0, 0]: the weights are damaged");
    EXPECT_EQ(refusal("", "\x38", use), "");
  }
  fs::remove_all(to);
}

}  // namespace
}  // namespace r1::fp8_model_test
