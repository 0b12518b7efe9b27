// A model loaded for inference holds its matrices once and gives the bits of one loaded for training: logits,
// hash and saved files, for files in f32, bf16 and f16, in every numerics and family.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "formats/hf_directory.h"
#include "model/memory.h"
#include "model/scoring.h"
#include "model/weight_formats.h"
#include "ops/convert/convert.h"
#include "tests/model/golden_models.h"

namespace r1::frozen_test {
namespace {

namespace fs = std::filesystem;

class Frozen : public testing::TestWithParam<const char*> {
 protected:
  Frozen() : directory_(fs::path(testing::TempDir()) / ("r1_frozen_" + std::to_string(::getpid()))) {
    fs::remove_all(directory_);
    fs::create_directories(directory_ / "copy");
  }
  ~Frozen() override { fs::remove_all(directory_); }

  // Writes the golden model with its tensors in `type`; change(name, values) may edit them.
  template <class Change>
  void write(StoredType type, const Change& change) const {
    const fs::path golden = test::kGoldenModels / GetParam();
    fs::copy_file(golden / "config.json", directory_ / "config.json", fs::copy_options::overwrite_existing);
    const SafetensorsFile file(golden / "model.safetensors");
    std::vector<SafetensorsWriter::Declared> declared;
    for (const TensorInfo& info : file.tensors()) declared.push_back({info.name, type, info.shape});
    SafetensorsWriter out(directory_ / "model.safetensors", declared);
    for (const TensorInfo& info : file.tensors()) {
      std::vector<float> values(static_cast<size_t>(info.count()));
      read_as_f32(file, info, values);
      change(info.name, values);
      out.write(info.name, values);
    }
    out.close();
  }
  void write(StoredType type) const {
    write(type, [](const std::string&, std::vector<float>&) {});
  }
  Model frozen(DType matrices = DType::f32) const {
    return Model::load(directory_, matrices, WeightUse::inference);
  }
  Model trained(DType matrices = DType::f32) const { return Model::load(directory_, matrices); }

  // The logits of two rows.
  static std::vector<float> logits(const Model& model, Numerics numerics, int threads = 2) {
    Arena arena;
    ThreadPool pool(threads);
    Context ctx{.arena = arena, .threads = pool, .numerics = numerics};
    const std::vector<int32_t> a = {1, 5, 9, 2, 7, 7}, b = {3, 0, 8};
    const std::vector<std::span<const int32_t>> rows = {a, b};
    const WholeBatch batch = whole_batch(rows);
    const KvCache kv(model.config(), batch.page_count, ctx);
    const Tensor hidden = model.forward(ctx, batch.view(), kv);
    std::vector<float> out(static_cast<size_t>(hidden.dim(0) * model.config().vocab_size));
    matmul_into(ctx, as_f32(ctx, hidden), hidden.dim(0), model.head(), out.data());
    return out;
  }
  static void pack(const Model& model, Numerics numerics) {
    Arena arena;
    ThreadPool pool(2);
    Context ctx{.arena = arena, .threads = pool, .numerics = numerics};
    model.pack(ctx);
  }
  std::string saved(const Model& model, DType dtype) const {
    model.save(directory_ / "copy", dtype);
    return read_file(directory_ / "copy/model.safetensors");
  }
  static std::string error_of(const auto& f) {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  const fs::path directory_;
};

TEST_P(Frozen, LogitsHashAndFilesAreThoseOfAModelForTraining) {
  for (const StoredType type : {StoredType::f32, StoredType::bf16, StoredType::f16}) {
    write(type);
    for (const Numerics numerics : kAllNumerics) {
      if (!machine_has(numerics)) continue;
      SCOPED_TRACE(testing::Message() << name_of(type) << " in " << name_of(numerics));
      const DType matrices = activation_dtype(numerics);
      const Model once = frozen(matrices), twice = trained(matrices);
      ASSERT_TRUE(once.frozen() && !twice.frozen());
      EXPECT_TRUE(logits(once, numerics) == logits(twice, numerics));
      EXPECT_TRUE(logits(once.clone(), numerics, 1) == logits(twice, numerics));
      EXPECT_EQ(once.weights_sha256(), twice.weights_sha256());
      for (const DType dtype : {DType::f32, DType::bf16})
        EXPECT_TRUE(saved(once, dtype) == saved(twice, dtype));
      Model other = trained(matrices);
      for (float& v : other.parameters()[1].value.values()) v = 7;
      other.copy_weights_from(once);
      EXPECT_EQ(other.weights_sha256(), twice.weights_sha256());
    }
  }
}

// A model whose matrices are rounded when they are loaded stays so in other numerics.
TEST_P(Frozen, RoundsOnceForAllNumerics) {
  write(StoredType::f32);
  const Model once = frozen(DType::bf16), twice = trained(DType::bf16);
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16, Numerics::cpu_f32})
    EXPECT_TRUE(logits(once, numerics) == logits(twice, numerics)) << name_of(numerics);
}

TEST_P(Frozen, IsHeldOnce) {
  write(StoredType::bf16);
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    SCOPED_TRACE(name_of(numerics));
    const Model once = frozen(activation_dtype(numerics));
    const ModelConfig& config = once.config();
    int64_t vectors = 0, count = 0;
    for (const Parameter& p : once.parameters()) {
      vectors += p.value.shape.rank() == 1 ? static_cast<int64_t>((p.value.bytes() + 63) / 64 * 64) : 0;
      ++count;
    }
    EXPECT_EQ(once.held_bytes(), vectors) << "a matrix is in memory before it is needed";
    pack(once, numerics);  // experts that no token chose, too
    const int64_t held = once.held_bytes();
    // The file's matrices are bf16, and stay so in cpu-f32.
    const WeightFormats formats = uniform_formats(DType::bf16);
    const ModelMemory memory =
        model_memory(config, numerics, activation_dtype(numerics), WeightUse::inference, &formats);
    const int64_t rope = 4 * config.max_positions * config.rope_width();
    EXPECT_LE(held, memory.weights - rope + memory.packed + 64 * count);
    EXPECT_GE(held, memory.weights - rope + memory.packed);
    const ModelMemory wide = model_memory(config, numerics, activation_dtype(numerics), WeightUse::inference);
    if (numerics == Numerics::cpu_f32) {
      EXPECT_LT(memory.packed, 3 * wide.packed / 4);
    }
    logits(once, numerics);
    EXPECT_EQ(once.held_bytes(), held);
    const Model twice = trained(activation_dtype(numerics));
    pack(twice, numerics);
    EXPECT_LT(held, twice.held_bytes());
  }
}

TEST_P(Frozen, AFileThatIsCutWhileItIsLoadedIsAnErrorWithFileAndTensor) {
  write(StoredType::f32);
  const fs::path file = directory_ / "model.safetensors";
  const Model model = frozen(), ready = frozen();
  const std::vector<float> before = logits(ready, Numerics::cpu_f32);
  fs::resize_file(file, 4096);
  for (const auto& error :
       {error_of([&] { logits(model, Numerics::cpu_f32); }), error_of([&] { (void)model.weights_sha256(); }),
        error_of([&] { (void)saved(model, DType::f32); })}) {
    EXPECT_NE(error.find(file.string() + ": tensor model."), std::string::npos) << error;
    EXPECT_NE(error.find("to 4096 bytes while it was in use"), std::string::npos) << error;
  }
  EXPECT_TRUE(logits(ready, Numerics::cpu_f32) == before) << "what is packed needs no file";
}

TEST_P(Frozen, AFileThatIsWrittenToWhileItIsLoadedIsAnError) {
  write(StoredType::f32);
  const fs::path file = directory_ / "model.safetensors";
  const Model model = frozen();
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(2));
  EXPECT_NE(error_of([&] { logits(model, Numerics::cpu_f32); }).find("was written to while it was in use"),
            std::string::npos);
  // A file that is replaced, as every writer here does, stays what it was for those who have it.
  const Model again = frozen();
  const std::string hash = again.weights_sha256();
  fs::rename(file, directory_ / "old");
  write(StoredType::bf16);
  EXPECT_EQ(again.weights_sha256(), hash);
}

TEST_P(Frozen, NanIsNamedByWhoeverChecksEverything) {
  write(StoredType::f32, [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.0.input_layernorm.weight") values[0] = 2;
    if (name == "model.embed_tokens.weight") values[1] = std::numeric_limits<float>::quiet_NaN();
  });
  const std::string error = error_of([&] { (void)trained(); });
  EXPECT_NE(error.find("tensor model.embed_tokens.weight is NaN at [0, 1]"), std::string::npos) << error;
  const Model model = frozen();
  EXPECT_EQ(error_of([&] { model.check_finite(); }), error);
  Model target = Model::load(test::kGoldenModels / GetParam());
  EXPECT_EQ(error_of([&] { target.copy_weights_from(model); }), error);
}

TEST_P(Frozen, HasNoGradients) {
  write(StoredType::f32);
  Model model = frozen();
  EXPECT_THROW(model.allocate_gradients(), BrokenInvariant);
}

INSTANTIATE_TEST_SUITE_P(Models, Frozen, testing::ValuesIn(test::kGoldenNames), test::golden_test_name);

}  // namespace
}  // namespace r1::frozen_test
