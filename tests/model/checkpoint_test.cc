// Checkpoints that transformers and safetensors load are loaded. Sizes that do not match the weights are
// refused before memory is allocated.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "formats/hf_directory.h"
#include "model/model.h"
#include "tests/model/golden_models.h"

namespace r1::checkpoint_test {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  Checkpoint() : directory_(fs::path(testing::TempDir()) / ("r1_checkpoint_" + std::to_string(::getpid()))) {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  ~Checkpoint() override { fs::remove_all(directory_); }

  struct Stored {
    std::string name;
    StoredType type;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  // Returns a golden model's tensors as f32.
  static std::vector<Stored> tensors_of(const char* golden) {
    const HfWeights weights(test::kGoldenModels / golden);
    std::vector<Stored> out;
    for (const std::string& name : weights.names()) {
      std::vector<float> values(static_cast<size_t>(weights.find(name)->count()));
      weights.take(name, Shape(weights.find(name)->shape)).read(0, values);
      out.push_back({name,
                     StoredType::f32,
                     weights.find(name)->shape,
                     {reinterpret_cast<const char*>(values.data()), values.size() * 4}});
    }
    return out;
  }
  static Stored f64(const Stored& tensor) {
    Stored out{tensor.name, StoredType::f64, tensor.shape, {}};
    for (size_t i = 0; i < tensor.bytes.size(); i += 4) {
      float value = 0;
      std::memcpy(&value, tensor.bytes.data() + i, 4);
      const double wide = value;
      out.bytes.append(reinterpret_cast<const char*>(&wide), 8);
    }
    return out;
  }
  void write(const Json& config, const std::vector<Stored>& tensors) const {
    write_file_atomically(directory_ / "config.json", config.dump());
    std::vector<SafetensorsWriter::Declared> declared;
    for (const Stored& t : tensors) declared.push_back({t.name, t.type, t.shape});
    SafetensorsWriter out(directory_ / "model.safetensors", declared);
    for (const Stored& t : tensors) out.write_bytes(t.name, std::as_bytes(std::span(t.bytes)));
    out.close();
  }
  static Json config_of(const char* golden) {
    return read_json(test::kGoldenModels / golden / "config.json");
  }
  std::string error_of_load() const {
    try {
      Model::load(directory_);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      return e.what();
    }
    return "";
  }
  static std::string hash_of(const char* golden) {
    return Model::load(test::kGoldenModels / golden).weights_sha256();
  }

  const fs::path directory_;
};

TEST_F(Checkpoint, SizesThatTheWeightsDoNotHaveAreRefusedBeforeMemoryIsTaken) {
  struct Row {
    const char* golden;
    const char* field;
    int64_t value;
    const char* needle;
  };
  const Row rows[] = {
      {"llama-biases", "num_hidden_layers", 100000000, "config.json: num_hidden_layers is 100000000"},
      {"llama-biases", "num_hidden_layers", 1000000,
       "config.json: num_hidden_layers is 1000000, and the weights"},
      {"llama-biases", "vocab_size", 1000000000, "(vocab_size = 1000000000)"},
      {"llama-biases", "hidden_size", 1000000000, "(hidden_size = 1000000000)"},
      {"llama-biases", "intermediate_size", 1000000000, "(intermediate_size = 1000000000)"},
      {"llama-biases", "head_dim", 100000000, "num_attention_heads * head_dim = "},
      {"deepseek_v3-groups", "kv_lora_rank", 1000000000, "(kv_lora_rank + qk_rope_head_dim = "},
      {"deepseek_v3-groups", "v_head_dim", 100000000,
       "(num_attention_heads * (qk_nope_head_dim + v_head_dim) = "},
      {"deepseek_v3-groups", "moe_intermediate_size", 1000000000, "(moe_intermediate_size = 1000000000)"},
      {"deepseek_v3-groups", "n_routed_experts", 65536, "(n_routed_experts = 65536)"},
  };
  for (const Row& row : rows) {
    Json config = config_of(row.golden);
    write(config.set(row.field, row.value), tensors_of(row.golden));
    const std::string error = error_of_load();
    EXPECT_NE(error.find(row.needle), std::string::npos) << row.field << ": " << error;
    EXPECT_NE(error.find(directory_.string()), std::string::npos) << error;
  }
  // No weight has this size, and no memory depends on it until a position is used.
  Json config = config_of("llama-biases");
  write(config.set("max_position_embeddings", 1 << 29), tensors_of("llama-biases"));
  EXPECT_EQ(error_of_load(), "");
}

TEST_F(Checkpoint, ASizeThatIsNotSaidIsNamedIfItDoesNotFit) {
  Json config = Json::object();
  const Json golden = config_of("llama-biases");
  for (const auto& [key, value] : golden.members()) {
    if (key != "hidden_size") config.set(key, value);
  }
  write(config, tensors_of("llama-biases"));
  EXPECT_NE(error_of_load().find("config.json does not say so; transformers takes hidden_size = 4096)"),
            std::string::npos)
      << error_of_load();
}

TEST_F(Checkpoint, TensorsWithoutAPlaceAreLeftOutWithOneWarning) {
  std::vector<Stored> tensors = tensors_of("llama-biases");
  for (int i = 0; i < 5; ++i)
    tensors.push_back({"extra." + std::to_string(i), StoredType::i64, {1}, std::string(8, '\1')});
  // Stored tables that the program computes itself cause no warning.
  tensors.push_back(
      {"model.layers.0.self_attn.rotary_emb.inv_freq", StoredType::f32, {1}, std::string(4, '\0')});
  write(config_of("llama-biases"), tensors);
  const Model model = Model::load(directory_);
  EXPECT_EQ(model.weights_sha256(), hash_of("llama-biases"));
  EXPECT_EQ(model.warnings(),
            std::vector<std::string>{
                (directory_ / "model.safetensors").string() +
                ": 5 tensors have no place in a llama of this config.json and are not used: extra.0, "
                "extra.1, extra.2, ..."});
  EXPECT_TRUE(Model::load(test::kGoldenModels / "llama-biases").warnings().empty());
}

TEST_F(Checkpoint, FewerLayersThanTheWeightsHaveAreTheFirstOnes) {
  Json config = config_of("llama-biases");
  const int64_t layers = config.get_int("num_hidden_layers");
  ASSERT_GT(layers, 1);
  write(config.set("num_hidden_layers", layers - 1), tensors_of("llama-biases"));
  const Model model = Model::load(directory_);
  EXPECT_EQ(model.config().layers, layers - 1);
  EXPECT_EQ(model.warnings().size(), 1u);
}

TEST_F(Checkpoint, ATiedHeadMayBeStoredTwiceOrUnderEitherName) {
  const std::vector<Stored> tensors = tensors_of("qwen2-tied");
  std::vector<Stored> both = tensors, other;
  for (Stored tensor : tensors) {
    if (tensor.name == "model.embed_tokens.weight") {
      tensor.name = "lm_head.weight";
      both.push_back(tensor);
    }
    other.push_back(tensor);
  }
  for (const auto& stored : {both, other}) {
    write(config_of("qwen2-tied"), stored);
    const Model model = Model::load(directory_);
    EXPECT_EQ(model.weights_sha256(), hash_of("qwen2-tied"));
    EXPECT_TRUE(model.warnings().empty());
  }
}

TEST_F(Checkpoint, TypesMayBeMixed) {
  std::vector<Stored> tensors = tensors_of("llama-biases");
  for (size_t i = 0; i < tensors.size(); i += 2) tensors[i] = f64(tensors[i]);
  write(config_of("llama-biases"), tensors);
  EXPECT_EQ(Model::load(directory_).weights_sha256(), hash_of("llama-biases"));
  tensors[0] = {tensors[0].name, StoredType::i64, tensors[0].shape, tensors[0].bytes};
  write(config_of("llama-biases"), tensors);
  EXPECT_NE(error_of_load().find(tensors[0].name + " is I64"), std::string::npos) << error_of_load();
}

TEST(NewModel, LargerThanTheMachineIsRefusedBeforeMemoryIsTaken) {
  const Json json = parse_json(
      R"({"model_type": "llama", "vocab_size": 1000000000, "hidden_size": 1000000000, "intermediate_size": 48,
          "num_hidden_layers": 1000000, "num_attention_heads": 4, "head_dim": 8})",
      "[model.config]");
  try {
    Model::create(read_new_model_config(json), 1);
    ADD_FAILURE() << "made";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("num_hidden_layers = 1000000, hidden_size = 1000000000"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace r1::checkpoint_test
