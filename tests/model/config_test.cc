// config.json in both spellings, the values that are refused, and the published configurations.
#include "model/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace r1::config_test {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(R1_SOURCE_DIR) / "tests/golden/models";

std::vector<fs::path> golden_configs() {
  std::vector<fs::path> list;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    if (entry.is_directory()) list.push_back(entry.path() / "config.json");
  }
  EXPECT_GE(list.size(), 10u);
  return list;
}

std::string read_again(const Json& json) {
  return to_json(read_model_config(parse_json(json.dump(), "config.json"))).dump(2);
}

// Returns the object without the field `dropped`.
Json without(const Json& json, std::string_view dropped) {
  Json out = Json::object();
  for (const auto& [key, value] : json.members()) {
    if (key != dropped) out.set(key, value);
  }
  return out;
}

// Reads either spelling. Returns {theta, the rest of rope_parameters or rope_scaling}.
std::pair<Json, Json> rope_of(const Json& json) {
  Json theta, rest = Json::object();
  if (const Json* field = json.find("rope_theta"); field != nullptr) theta = *field;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* block = json.find(key);
    if (block == nullptr || block->is_null()) continue;
    for (const auto& [name, value] : block->members()) {
      if (name == "rope_theta") {
        theta = value;
      } else {
        rest.set(name == "type" ? "rope_type" : name, value);
      }
    }
  }
  return {theta, rest};
}

TEST(Config, BothSpellingsOfTransformersAreOne) {
  for (const fs::path& path : golden_configs()) {
    const Json json = read_json(path);
    const std::string want = to_json(read_model_config(json)).dump(2);
    const auto [theta, rest] = rope_of(json);
    const Json bare = without(without(without(json, "rope_theta"), "rope_scaling"), "rope_parameters");
    Json four = bare, old = bare, five = bare;
    four.set("rope_theta", theta).set("rope_scaling", rest);
    EXPECT_EQ(read_again(four), want) << path;
    Json block = without(rest, "rope_type");
    if (rest.contains("rope_type")) block.set("type", rest.at("rope_type"));
    EXPECT_EQ(read_again(old.set("rope_theta", theta).set("rope_scaling", block)), want) << path;
    block = rest;
    EXPECT_EQ(read_again(five.set("rope_parameters", block.set("rope_theta", theta))), want) << path;
    // Tests a file that has both blocks with the same values, and the file that the program writes itself.
    EXPECT_EQ(read_again(four.set("rope_parameters", block)), want) << path;
    EXPECT_EQ(read_again(to_json(read_model_config(json))), want) << path;
  }
}

// Returns an otherwise valid configuration with this block, which may have any type.
Json with_rope(const Json& block) {
  return read_json(kGolden / "qwen3-tied/config.json")
      .set("rope_parameters", nullptr)
      .set("rope_theta", 10000.0)
      .set("rope_scaling", block);
}
Json yarn() {
  return Json::object()
      .set("rope_type", "yarn")
      .set("factor", 4.0)
      .set("original_max_position_embeddings", 16)
      .set("beta_fast", 32)
      .set("beta_slow", 1);
}
Json llama3() {
  return Json::object()
      .set("rope_type", "llama3")
      .set("factor", 8)
      .set("low_freq_factor", 1)
      .set("high_freq_factor", 4)
      .set("original_max_position_embeddings", 8192);
}

std::string error_of(const Json& json) {
  try {
    read_model_config(parse_json(json.dump(), "config.json"));
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "";
}

TEST(Config, ReadsWhatTheRopeBlockSays) {
  const RopeConfig got = read_model_config(parse_json(with_rope(yarn()).dump(), "c")).rope;
  EXPECT_EQ(got, (RopeConfig{.type = RopeType::yarn, .factor = 4, .original_positions = 16}));
  Json block = yarn().set("original_max_position_embeddings", nullptr).set("truncate", false);
  block.set("mscale", 0.5).set("mscale_all_dim", 0.25).set("attention_factor", 1.5).set("beta_fast", 0);
  const RopeConfig all = read_model_config(parse_json(with_rope(block).dump(), "c")).rope;
  EXPECT_EQ(all, (RopeConfig{.type = RopeType::yarn,
                             .factor = 4,
                             .original_positions = 64,  // from max_position_embeddings
                             .mscale = 0.5,
                             .mscale_all_dim = 0.25,
                             .attention_factor = 1.5,
                             .truncate = false}));
  EXPECT_EQ(read_model_config(parse_json(with_rope(yarn().set("factor", nullptr)).dump(), "c")).rope, got);
  EXPECT_EQ(read_model_config(parse_json(with_rope(llama3()).dump(), "c")).rope,
            (RopeConfig{.type = RopeType::llama3, .factor = 8, .original_positions = 8192}));
}

TEST(Config, RefusesRopesThatItDoesNotKnow) {
  const auto block = [](const char* type) { return with_rope(Json::object().set("rope_type", type)); };
  EXPECT_EQ(error_of(block("dynamic")),
            "config.json: rope_scaling.rope_type is dynamic, whose frequencies change with the sequence's "
            "length: default, linear, llama3 and yarn are known");
  EXPECT_NE(error_of(block("longrope")).find("rope_scaling.rope_type is longrope"), std::string::npos);
  EXPECT_NE(error_of(block("su\nper")).find("rope_scaling.rope_type is su?per"), std::string::npos);
  Json json = without(with_rope(nullptr), "rope_scaling");
  json.set("rope_parameters", Json::object().set("type", "dynamic").set("factor", 2));
  EXPECT_NE(error_of(json).find("rope_parameters.type is dynamic"), std::string::npos);
  // transformers ignores keys that it does not know.
  EXPECT_EQ(read_again(with_rope(yarn().set("attn_tempering", 0.5))), read_again(with_rope(yarn())));
  EXPECT_EQ(error_of(with_rope(Json::object().set("mrope_section", Json::array()))), "");
  EXPECT_NE(error_of(with_rope(Json::object().set("factor", 4))).find("no rope_type"), std::string::npos);
  EXPECT_NE(error_of(with_rope(yarn().set("partial_rotary_factor", 0.5))).find("partial_rotary_factor"),
            std::string::npos);
  EXPECT_NE(error_of(with_rope(nullptr).set("partial_rotary_factor", 0.5)).find("partial_rotary_factor"),
            std::string::npos);
  EXPECT_EQ(error_of(with_rope(llama3().set("mscale_all_dim", 1.0))), "");  // only DeepSeek-V3 would use it
  Json deepseek = read_json(kGolden / "deepseek_v3-yarn/config.json").set("rope_parameters", nullptr);
  EXPECT_NE(
      error_of(deepseek.set("rope_scaling", llama3().set("mscale_all_dim", 1.0))).find("belongs to yarn"),
      std::string::npos);
  // If a file has both blocks, the first is read, as in transformers.
  EXPECT_EQ(read_again(with_rope(yarn()).set("rope_parameters", llama3())), read_again(with_rope(yarn())));
  EXPECT_NE(error_of(with_rope("yarn")).find("rope_scaling is a string"), std::string::npos);
}

TEST(Config, RefusesNonsenseInOneLineThatNamesTheField) {
  const auto refuses = [](Json block, const char* key, const Json& value) {
    const std::string error = error_of(with_rope(block.set(key, value)));
    EXPECT_NE(error.find(key), std::string::npos) << key << " " << value.dump() << ": \"" << error << "\"";
  };
  for (const char* type : {"linear", "llama3", "yarn"}) {
    Json block = std::string(type) == "llama3" ? llama3() : yarn().set("rope_type", type);
    for (const Json& value : {Json(0), Json(0.0), Json(-4.0), Json(0.5), Json(1e300), Json("4"), Json(true)})
      refuses(block, "factor", value);
    EXPECT_NE(error_of(with_rope(without(block, "factor"))).find("factor"), std::string::npos);
  }
  refuses(Json::object().set("rope_type", "linear"), "factor", nullptr);
  for (const char* key : {"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"}) {
    for (const Json& value : {Json(-1.0), Json(1e300), Json("1"), Json(1e-300)}) refuses(yarn(), key, value);
  }
  refuses(yarn(), "attention_factor", 0.0);
  refuses(yarn(), "truncate", 1);
  refuses(yarn(), "truncate", nullptr);
  refuses(yarn(), "beta_fast", 0.5);  // below beta_slow
  refuses(yarn(), "beta_slow", 33);
  refuses(yarn().set("original_max_position_embeddings", 65), "factor", nullptr);
  for (const Json& value : {Json(0), Json(-1), Json(16.5), Json(int64_t{1} << 40)}) {
    refuses(yarn(), "original_max_position_embeddings", value);
    refuses(llama3(), "original_max_position_embeddings", value);
  }
  for (const char* key : {"low_freq_factor", "high_freq_factor"}) {
    for (const Json& value : {Json(0), Json(-1.0), Json(1e300), Json()}) refuses(llama3(), key, value);
    EXPECT_NE(error_of(with_rope(without(llama3(), key))).find(key), std::string::npos);
  }
  refuses(llama3(), "low_freq_factor", 4);
  refuses(llama3(), "high_freq_factor", 0.5);
  for (const Json& value : {Json(1.0), Json(0), Json(-5.0), Json(1e300), Json("x")}) {
    refuses(yarn(), "rope_theta", value);
    EXPECT_NE(error_of(with_rope(nullptr).set("rope_theta", value)).find("rope_theta"), std::string::npos);
  }
  // These values do not fit into f32.
  for (const double value : {1e308, -1.0}) {
    EXPECT_NE(error_of(with_rope(nullptr).set("rms_norm_eps", value)).find("rms_norm_eps"),
              std::string::npos);
    Json deepseek = read_json(kGolden / "deepseek_v3-yarn/config.json");
    EXPECT_NE(error_of(deepseek.set("routed_scaling_factor", value)).find("routed_scaling_factor"),
              std::string::npos);
  }
  // The texts are not JSON.
  const std::string text = with_rope(yarn().set("factor", 31415)).dump();
  for (const char* value : {"NaN", "Infinity", "1e999"}) {
    std::string broken = text;
    broken.replace(broken.find("31415"), 5, value);
    EXPECT_THROW(read_model_config(parse_json(broken, "config.json")), Error) << value;
  }
}

TEST(Config, Qwen3HasItsOwnDefaultsAndRefusals) {
  const Json json = read_json(kGolden / "qwen3-tied/config.json");
  const ModelConfig config = read_model_config(json);
  EXPECT_EQ(config.family, Family::qwen3);
  EXPECT_TRUE(config.qk_norm);
  EXPECT_FALSE(config.qkv_bias || config.o_bias || config.mlp_bias);
  EXPECT_EQ(config.head_dim, 6);
  // 21 / 4 heads is not a whole number: a missing head_dim is 128, as in transformers.
  EXPECT_EQ(read_model_config(parse_json(without(json, "head_dim").dump(), "c")).head_dim, 128);
  EXPECT_EQ(error_of(Json(json).set("sliding_window", 4096).set("use_sliding_window", false)), "");
  EXPECT_EQ(error_of(Json(json).set("model_type", "qwen2_moe")),
            "config.json: model_type is \"qwen2_moe\": deepseek_v2, deepseek_v3, qwen2, qwen3, qwen3_moe and "
            "llama are "
            "known");
  EXPECT_NE(error_of(Json(json).set("model_type", "qwen_3")).find("did you mean qwen3?"), std::string::npos);
}

class Published : public testing::Test {
 protected:
  void SetUp() override {
    const char* set = std::getenv("R1_TEST_DATA");
    root = fs::path(set != nullptr ? set : R1_SOURCE_DIR "/../shared/data") / "configs";
    if (!fs::exists(root)) GTEST_SKIP() << root << " is missing: published configurations are NOT read";
  }
  // Returns the frequencies that this program computes for a case of rope.json.
  static std::vector<float> golden(const std::string& name) {
    const Json cases = read_json(kGolden / "rope.json");
    for (const Json& row : cases.items()) {
      if (row.get_string("name") != name) continue;
      const Json& config = row.at("config");
      const int64_t width = config.get_int_or(
          "qk_rope_head_dim", config.get_int_or("head_dim", config.get_int("hidden_size") /
                                                                config.get_int("num_attention_heads")));
      return rope_frequencies(read_rope_config(config, config.get_int("max_position_embeddings")), width)
          .inverse;
    }
    ADD_FAILURE() << "no case " << name;
    return {};
  }
  static std::vector<float> inverse(const ModelConfig& config) {
    return rope_frequencies(config.rope, config.rope_width()).inverse;
  }
  fs::path root;
};

TEST_F(Published, ConfigurationsAreReadWithTheirFrequencies) {
  const ModelConfig config = read_model_config(read_json(root / "DeepSeek-R1/config.json"));
  EXPECT_EQ(config.moe.experts, 256);
  EXPECT_TRUE(config.moe.score == RouterScore::sigmoid && config.moe.group_rank == GroupRank::two_best);
  EXPECT_EQ(inverse(config), golden("DeepSeek-R1"));
  EXPECT_EQ(config.rope_width(), 64);
  EXPECT_EQ(config.rope, (RopeConfig{.type = RopeType::yarn,
                                     .factor = 40,
                                     .original_positions = 4096,
                                     .mscale = 1,
                                     .mscale_all_dim = 1}));
  const std::vector<std::pair<const char*, const char*>> files = {
      {"DeepSeek-R1-Distill-Llama-8B/config.json", "R1-Distill-Llama-8B"},
      {"Llama-3.1-70B-Instruct/config.json", "R1-Distill-Llama-70B"},  // the base of the 70B distill
      {"DeepSeek-R1-Distill-Qwen-1.5B/config.printed.json", "R1-Distill-Qwen-1.5B"},
      {"DeepSeek-R1-Distill-Qwen-1.5B/config.qwen-ascend-llm.json", "R1-Distill-Qwen-1.5B"},
      {"Qwen2.5-32B-Instruct/config.json", "R1-Distill-Qwen-32B"},
      {"Qwen2.5-7B-Instruct/config.json", "R1-Distill-Qwen-14B"},  // theta 1e6, head 128
      {"qwen3-0.6b/config.json", "Qwen3-8B"},
      {"qwen3-8b/config.json", "Qwen3-8B"}};
  for (const auto& [file, name] : files) {
    EXPECT_EQ(inverse(read_model_config(read_json(root / file))), golden(name)) << file;
  }
  for (const char* file : {"llama-3-8b", "llama-3-70b", "qwen2-7b", "qwen2-72b"})
    EXPECT_NO_THROW(read_model_config(read_json(root / file / "config.json"))) << file;
  const ModelConfig qwen = read_model_config(read_json(root / "qwen3-30b/config.json"));
  EXPECT_EQ(qwen.moe.experts, 128);
  EXPECT_EQ(qwen.moe.active, 8);
  EXPECT_EQ(qwen.head_dim, 128);
  EXPECT_TRUE(qwen.moe.norm_topk && qwen.is_moe_layer(0) && qwen.moe.score == RouterScore::softmax);
}

// Two distills are known only from their GGUF files. A config.json with the same sizes is tested.
TEST_F(Published, DistillsKnownFromTheirGguf) {
  for (const char* size : {"7B", "14B"}) {
    const std::string name = std::string("R1-Distill-Qwen-") + size;
    const Json gguf = read_json(root / ("DeepSeek-" + name) / "gguf_metadata.json");
    Json json = Json::object().set("model_type", "qwen2").set("vocab_size", 152064);
    json.set("hidden_size", gguf.at("qwen2.embedding_length"))
        .set("intermediate_size", gguf.at("qwen2.feed_forward_length"))
        .set("num_hidden_layers", gguf.at("qwen2.block_count"))
        .set("num_attention_heads", gguf.at("qwen2.attention.head_count"))
        .set("num_key_value_heads", gguf.at("qwen2.attention.head_count_kv"))
        .set("max_position_embeddings", gguf.at("qwen2.context_length"))
        .set("rope_theta", gguf.at("qwen2.rope.freq_base"));
    const ModelConfig config = read_model_config(json);
    EXPECT_EQ(config.max_positions, 131072);
    EXPECT_EQ(inverse(config), golden(name)) << name;
  }
}

// DeepSeek-R1-0528-Qwen3-8B: attn_factor undoes YaRN's own factor, 0.1 ln 4 + 1; vLLM multiplies by it.
TEST(Config, AttnFactorMultipliesYarnsFactor) {
  const auto factor_of = [](const Json& rope) {
    const ModelConfig config = read_model_config(with_rope(rope));
    return rope_frequencies(config.rope, 16).attention_factor;
  };
  EXPECT_NEAR(factor_of(yarn().set("factor", 4).set("attn_factor", 0.8782488562869419)), 1.0, 1e-6);
  EXPECT_EQ(factor_of(yarn().set("attention_factor", 1.5).set("attn_factor", 0.5)), 1.5f);
}

}  // namespace
}  // namespace r1::config_test
