// Each field of config.json is, for every architecture, applied, refused, or ignored as in transformers.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "model/config.h"

namespace r1::config_fields_test {
namespace {

Json minimal(const std::string& type) {
  Json json = Json::object();
  json.set("model_type", type).set("vocab_size", 320).set("hidden_size", 32).set("intermediate_size", 48);
  json.set("num_hidden_layers", 2).set("num_attention_heads", 4).set("max_position_embeddings", 512);
  if (type == "qwen3_moe")
    json.set("num_experts", 8).set("num_experts_per_tok", 2).set("moe_intermediate_size", 16);
  if (!type.starts_with("deepseek")) return json.set("num_key_value_heads", 2).set("head_dim", 8);
  json.set("q_lora_rank", nullptr)
      .set("kv_lora_rank", 16)
      .set("qk_nope_head_dim", 8)
      .set("qk_rope_head_dim", 4);
  json.set("v_head_dim", 8).set("n_routed_experts", 16).set("num_experts_per_tok", 2);
  if (type == "deepseek_v2") json.set("topk_method", "group_limited_greedy");
  return json.set("moe_intermediate_size", 16).set("n_group", 4).set("topk_group", 2);
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

std::string read_as(const Json& json) {
  const std::string error = error_of(json);
  return error.empty() ? to_json(read_model_config(parse_json(json.dump(), "config.json"))).dump() : error;
}

Json without(const Json& json, std::string_view dropped) {
  Json out = Json::object();
  for (const auto& [key, value] : json.members()) {
    if (key != dropped) out.set(key, value);
  }
  return out;
}

enum class Fate { applied, ignored, refused };
struct Row {
  const char* families;  // one letter per family, as in families_of
  const char* field;
  const char* value;
  Fate fate;
};
constexpr Fate kApplied = Fate::applied, kIgnored = Fate::ignored, kRefused = Fate::refused;

// Every field of transformers' LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig, DeepseekV2Config and
// DeepseekV3Config (4.57 and 5.24),
// the fields of PreTrainedConfig that published models have, and those of DeepSeek's own config.json. Each
// has a value other than its default.
const Row kFields[] = {
    {"dv23ml", "vocab_size", "64", kApplied},
    {"dv23ml", "hidden_size", "64", kApplied},
    {"dv23ml", "intermediate_size", "64", kApplied},
    {"dv23ml", "num_hidden_layers", "5", kApplied},
    {"dv23ml", "num_attention_heads", "8", kApplied},
    {"23ml", "num_key_value_heads", "1", kApplied},
    {"23ml", "num_key_value_heads", "null", kApplied},
    {"23ml", "head_dim", "16", kApplied},
    {"m", "head_dim", "null", kIgnored},  // hidden_size / num_attention_heads is 8, too
    {"3", "head_dim", "null", kIgnored},  // hidden_size / num_attention_heads is 8, too
    {"dv", "head_dim", "64", kIgnored},   // transformers 5 writes qk_rope_head_dim there
    {"dv", "qk_head_dim", "192", kIgnored},
    {"dv", "num_key_value_heads", "2", kIgnored},
    {"dv23ml", "max_position_embeddings", "99", kApplied},
    {"dv23ml", "rms_norm_eps", "1e-5", kApplied},
    {"dv23ml", "initializer_range", "0.1", kApplied},
    {"dv23ml", "tie_word_embeddings", "true", kApplied},
    {"dv23ml", "tie_word_embeddings", "null", kIgnored},
    {"dv23ml", "torch_dtype", "\"bfloat16\"", kApplied},
    {"dv23ml", "dtype", "\"bfloat16\"", kApplied},
    {"dv23ml", "dtype", "\"torch.float16\"", kApplied},
    {"dv23ml", "dtype", "\"float64\"", kIgnored},
    {"dv23ml", "dtype", "\"float8_e4m3fn\"", kRefused},
    {"dv23ml", "hidden_act", "\"swish\"", kIgnored},  // another name of silu
    {"dv23ml", "hidden_act", "\"gelu\"", kRefused},
    {"dv23ml", "bos_token_id", "7", kApplied},
    {"dv23ml", "bos_token_id", "151643", kIgnored},
    {"dv23ml", "eos_token_id", "7", kApplied},
    {"dv23ml", "eos_token_id", "[7, 9]", kApplied},
    {"dv23ml", "eos_token_id", "\"7\"", kRefused},
    {"dv23ml", "pad_token_id", "-1", kIgnored},
    {"dv23ml", "rope_theta", "500000.0", kApplied},
    {"dv23ml", "rope_theta", "null", kIgnored},
    {"dv23ml", "rope_scaling", "null", kIgnored},
    {"dv23ml", "rope_scaling", "{}", kIgnored},
    {"dv23ml", "rope_scaling", R"({"rope_type": "default"})", kIgnored},
    {"dv23ml", "rope_scaling", R"({"type": "default", "mrope_section": [1, 2]})", kIgnored},
    {"dv23ml", "rope_scaling", R"({"type": "linear", "factor": 2})", kApplied},
    {"dv23ml", "rope_scaling", R"({"type": "dynamic", "factor": 2})", kRefused},
    {"dv23ml", "rope_parameters", R"({"rope_theta": 500000.0})", kApplied},
    {"dv23ml", "rope_parameters", R"({"full_attention": {"rope_type": "linear", "factor": 2}})", kApplied},
    {"dv23ml", "partial_rotary_factor", "1.0", kIgnored},
    {"dv23ml", "partial_rotary_factor", "null", kIgnored},
    {"dv23ml", "partial_rotary_factor", "0.5", kRefused},
    {"dv3ml", "attention_bias", "true", kApplied},
    {"2", "attention_bias", "true", kIgnored},  // Qwen2 has biases on q, k and v in any case
    {"l", "mlp_bias", "true", kApplied},
    {"d23m", "mlp_bias", "true", kIgnored},
    {"v", "mlp_bias", "true", kRefused},
    {"dv23ml", "attention_dropout", "0.1", kIgnored},
    {"dv23ml", "use_cache", "false", kIgnored},
    {"dv23ml", "pretraining_tp", "2", kIgnored},
    {"23", "use_sliding_window", "true", kIgnored},  // max_window_layers is 28 by default: no layer slides
    {"23", "sliding_window", "8", kIgnored},         // nothing uses it
    {"23", "sliding_window", "null", kIgnored},
    {"23", "max_window_layers", "0", kIgnored},
    {"23", "layer_types", R"(["full_attention", "full_attention"])", kIgnored},
    {"23", "layer_types", R"(["full_attention"])", kRefused},
    {"23", "layer_types", R"(["full_attention", "chunked_attention"])", kRefused},
    {"m", "use_sliding_window", "true", kIgnored},  // 4096 by default, which is above the context
    {"m", "sliding_window", "8", kIgnored},
    {"m", "max_window_layers", "0", kIgnored},
    {"dvl", "use_sliding_window", "true", kIgnored},
    {"dvl", "sliding_window", "8", kIgnored},
    {"dvlm", "layer_types", R"(["full_attention"])", kIgnored},
    {"dv", "q_lora_rank", "16", kApplied},
    {"dv", "kv_lora_rank", "32", kApplied},
    {"dv", "qk_nope_head_dim", "16", kApplied},
    {"dv", "qk_rope_head_dim", "8", kApplied},
    {"dv", "v_head_dim", "16", kApplied},
    {"d", "rope_interleave", "false", kApplied},
    {"dv", "n_routed_experts", "32", kApplied},
    {"dv", "n_shared_experts", "3", kApplied},
    {"dv", "n_shared_experts", "null", kApplied},
    {"dvm", "num_experts_per_tok", "3", kApplied},
    {"dvm", "moe_intermediate_size", "32", kApplied},
    {"dv", "first_k_dense_replace", "1", kApplied},
    {"dv", "n_group", "2", kApplied},
    {"dv", "topk_group", "1", kApplied},
    {"d", "norm_topk_prob", "false", kApplied},
    {"d", "routed_scaling_factor", "1.0", kApplied},
    {"v", "routed_scaling_factor", "16.0", kApplied},
    {"v", "rope_interleave", "false", kIgnored},
    {"v", "norm_topk_prob", "false", kIgnored},
    {"v", "norm_topk_prob", "true", kRefused},  // transformers ignores it, vLLM applies it
    {"v", "scoring_func", "\"softmax\"", kIgnored},
    {"v", "scoring_func", "\"sigmoid\"", kRefused},
    {"v", "topk_method", "\"greedy\"", kApplied},
    {"v", "topk_method", "\"noaux_tc\"", kRefused},
    {"m", "num_experts", "16", kApplied},
    {"m", "norm_topk_prob", "true", kApplied},
    {"m", "decoder_sparse_step", "2", kApplied},
    {"m", "decoder_sparse_step", "0", kRefused},
    {"m", "mlp_only_layers", "[1]", kApplied},
    {"m", "mlp_only_layers", "[]", kIgnored},
    {"m", "mlp_only_layers", "[7]", kIgnored},  // there is no such layer
    {"m", "mlp_only_layers", "null", kIgnored},
    {"m", "mlp_only_layers", "[-1]", kRefused},
    {"m", "mlp_only_layers", "[0.5]", kRefused},
    {"m", "mlp_only_layers", "1", kRefused},
    {"m", "router_aux_loss_coef", "0.1", kIgnored},
    {"d", "scoring_func", "\"sigmoid\"", kIgnored},
    {"d", "scoring_func", "\"softmax\"", kRefused},
    {"d", "topk_method", "\"noaux_tc\"", kIgnored},
    {"d", "topk_method", "\"greedy\"", kRefused},
    {"dv", "moe_layer_freq", "1", kIgnored},
    {"dv", "moe_layer_freq", "2", kRefused},
    {"dv", "num_nextn_predict_layers", "1", kIgnored},
    {"dv", "num_mtp_layers", "1", kIgnored},
    {"dvm", "output_router_logits", "true", kIgnored},
    {"dv", "ep_size", "1", kIgnored},
    {"dv", "aux_loss_alpha", "0.001", kIgnored},
    {"dv", "seq_aux", "true", kIgnored},
    {"dv23ml", "auto_map", R"({"AutoConfig": "configuration.Config"})", kIgnored},
    {"dv23ml", "architectures", R"(["SomethingElse"])", kIgnored},
    {"dv23ml", "transformers_version", "\"4.48.0\"", kIgnored},
    {"dv23ml", "_name_or_path", "\"x\"", kIgnored},
    {"dv23ml", "id2label", R"({"0": "LABEL_0"})", kIgnored},
    {"dv23ml", "problem_type", "null", kIgnored},
    {"dv23ml", "a_field_of_next_year", R"({"x": [1, null]})", kIgnored},
    {"dv23ml", "quantization_config", "null", kIgnored},
    {"dv23ml", "quantization_config", "{}", kIgnored},
    {"dv23ml", "quantization_config", R"({"quant_method": "fp8"})", kIgnored},  // a fact of the weights alone
    {"d", "quantization_config",
     R"({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"})",
     kIgnored},
    {"d", "quantization_config", R"({"quant_method": "fp8", "fmt": "e5m2"})", kRefused},
    {"d", "quantization_config", R"({"quant_method": "fp8", "weight_block_size": [1, 128]})", kRefused},
    {"d", "quantization_config", R"({"quant_method": "fp8", "weight_block_size": [128]})", kRefused},
    {"d", "quantization_config", R"({"quant_method": "fp8", "weight_block_size": null})", kRefused},
    {"d", "quantization_config", R"({"quant_method": "fp8", "activation_scheme": "static"})", kRefused},
    {"dv23ml", "quantization_config", R"({"quant_method": "gptq"})", kRefused},
    {"dv23ml", "quantization_config", R"({"bits": 4})", kRefused},
    {"d", "quantization_config", "[1]", kRefused},
};

std::vector<std::string> families_of(const char* letters) {
  std::vector<std::string> names;
  for (const char* c = letters; *c != '\0'; ++c) {
    names.push_back(*c == 'd'   ? "deepseek_v3"
                    : *c == 'v' ? "deepseek_v2"
                    : *c == 'm' ? "qwen3_moe"
                    : *c == '2' ? "qwen2"
                    : *c == '3' ? "qwen3"
                                : "llama");
  }
  return names;
}

TEST(ConfigFields, AreAppliedOrIgnoredAsTransformersDoesOrRefusedByName) {
  for (const Row& row : kFields) {
    for (const std::string& family : families_of(row.families)) {
      const std::string plain = read_as(minimal(family));
      ASSERT_EQ(error_of(minimal(family)), "");
      Json json = minimal(family);
      json.set(row.field, parse_json(row.value, "value"));
      const std::string what = family + " " + row.field + " = " + row.value;
      if (row.fate == kRefused) {
        EXPECT_NE(error_of(json).find(row.field), std::string::npos)
            << what << ": \"" << error_of(json) << "\"";
        continue;
      }
      EXPECT_EQ(error_of(json), "") << what;
      EXPECT_EQ(read_as(json) == plain, row.fate == kIgnored) << what;
    }
  }
}

// transformers gives these values to absent fields. Each must equal a file that has the field.
TEST(ConfigFields, AbsentOnesHaveTransformersDefaults) {
  struct Default {
    const char* families;
    const char* field;
    const char* value;
  };
  const Default defaults[] = {
      {"l", "vocab_size", "32000"},
      {"23", "vocab_size", "151936"},
      {"m", "vocab_size", "151936"},
      {"m", "hidden_size", "2048"},
      {"m", "intermediate_size", "6144"},
      {"m", "num_hidden_layers", "24"},
      {"m", "num_attention_heads", "32"},
      {"m", "max_position_embeddings", "32768"},
      {"m", "head_dim", "8"},
      {"m", "num_key_value_heads", "4"},
      {"m", "num_experts", "128"},
      {"m", "num_experts_per_tok", "8"},
      {"m", "moe_intermediate_size", "768"},
      {"m", "norm_topk_prob", "false"},
      {"m", "decoder_sparse_step", "1"},
      {"m", "mlp_only_layers", "[]"},
      {"v", "vocab_size", "102400"},
      {"v", "hidden_size", "4096"},
      {"v", "intermediate_size", "11008"},
      {"v", "num_hidden_layers", "32"},
      {"v", "num_attention_heads", "32"},
      {"v", "max_position_embeddings", "2048"},
      {"v", "q_lora_rank", "1536"},
      {"v", "kv_lora_rank", "512"},
      {"v", "qk_nope_head_dim", "128"},
      {"v", "qk_rope_head_dim", "64"},
      {"v", "v_head_dim", "128"},
      {"v", "n_routed_experts", "64"},
      {"v", "n_shared_experts", "2"},
      {"v", "moe_intermediate_size", "1407"},
      {"v", "first_k_dense_replace", "0"},
      {"v", "routed_scaling_factor", "1.0"},
      {"v", "topk_method", "\"greedy\""},
      {"v", "scoring_func", "\"softmax\""},
      {"d", "vocab_size", "129280"},
      {"23l", "hidden_size", "4096"},
      {"d", "hidden_size", "7168"},
      {"l", "intermediate_size", "11008"},
      {"23", "intermediate_size", "22016"},
      {"d", "intermediate_size", "18432"},
      {"23l", "num_hidden_layers", "32"},
      {"d", "num_hidden_layers", "61"},
      {"23l", "num_attention_heads", "32"},
      {"d", "num_attention_heads", "128"},
      {"l", "max_position_embeddings", "2048"},
      {"23", "max_position_embeddings", "32768"},
      {"d", "max_position_embeddings", "4096"},
      {"dv23ml", "rms_norm_eps", "1e-6"},
      {"dv23ml", "rope_theta", "10000.0"},
      {"dv23ml", "hidden_act", "\"silu\""},
      {"dv23ml", "tie_word_embeddings", "false"},
      {"dv23ml", "attention_bias", "false"},
      {"l", "mlp_bias", "false"},
      {"2l", "head_dim", "8"},
      {"3", "head_dim", "128"},
      {"l", "num_key_value_heads", "4"},
      {"d", "q_lora_rank", "1536"},
      {"d", "kv_lora_rank", "512"},
      {"d", "qk_nope_head_dim", "128"},
      {"d", "qk_rope_head_dim", "64"},
      {"d", "v_head_dim", "128"},
      {"d", "rope_interleave", "true"},
      {"d", "n_shared_experts", "1"},
      {"d", "num_experts_per_tok", "8"},
      {"d", "moe_intermediate_size", "2048"},
      {"d", "first_k_dense_replace", "3"},
      {"d", "norm_topk_prob", "true"},
      {"d", "routed_scaling_factor", "2.5"},
  };
  for (const Default& row : defaults) {
    for (const std::string& family : families_of(row.families)) {
      const Json absent = without(minimal(family), row.field);
      const Json said = Json(absent).set(row.field, parse_json(row.value, "value"));
      EXPECT_EQ(read_as(absent), read_as(said)) << family << " " << row.field;
    }
  }
  // These two fields can be tested only in whole configurations.
  Json experts =
      without(without(without(minimal("deepseek_v3"), "n_group"), "topk_group"), "n_routed_experts");
  EXPECT_EQ(read_as(experts),
            read_as(Json(experts).set("n_routed_experts", 256).set("n_group", 8).set("topk_group", 4)));
  const Json heads = without(minimal("qwen3").set("num_attention_heads", 64), "num_key_value_heads");
  EXPECT_EQ(read_model_config(heads).kv_heads, 32);  // a fixed number, not a quotient
  EXPECT_EQ(read_model_config(without(minimal("qwen2"), "num_key_value_heads")).kv_heads, 4);
  EXPECT_EQ(
      error_of(Json(experts).set("n_routed_experts", 10)),
      "config.json: the document has no n_group; transformers' default, 8, does not divide n_routed_experts");
}

TEST(ConfigFields, AModelWithoutATypeHasThatOfItsArchitecture) {
  Json json = without(minimal("qwen2"), "model_type");
  EXPECT_NE(error_of(json).find("model_type is missing"), std::string::npos) << error_of(json);
  json.set("architectures", Json::array().push_back("Qwen2ForCausalLM"));
  EXPECT_EQ(read_as(json), read_as(minimal("qwen2")));
}

TEST(ConfigFields, WindowsThatNoLayerHasOrThatHoldTheContextAreInert) {
  const auto with = [](const char* window, const char* first, const char* types) {
    Json json = minimal("qwen2").set("use_sliding_window", true);
    if (*window != 0) json.set("sliding_window", parse_json(window, "w"));
    if (*first != 0) json.set("max_window_layers", parse_json(first, "f"));
    if (*types != 0) json.set("layer_types", parse_json(types, "t"));
    return error_of(json);
  };
  EXPECT_EQ(with("64", "2", ""), "");
  EXPECT_EQ(with("64", "", ""), "");    // layers from 28 on slide, and there are none
  EXPECT_EQ(with("512", "0", ""), "");  // the last position still sees the first
  EXPECT_EQ(with("", "0", ""), "");     // the window is 4096
  EXPECT_EQ(with("null", "0", ""), "");
  EXPECT_EQ(with("64", "0", R"(["full_attention", "full_attention"])"), "");
  EXPECT_EQ(with("511", "1", ""),
            "config.json: use_sliding_window is true and gives layer 1 a window of 511 tokens: sliding "
            "windows are not "
            "known here");
  EXPECT_NE(
      with("64", "2", R"(["full_attention", "sliding_attention"])").find("gives layer 1 a window of 64"),
      std::string::npos);
}

TEST(ConfigFields, OutOfRangeSizesAreRefusedInPlainWords) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "max_position_embeddings", "kv_lora_rank", "n_routed_experts"}) {
    for (const char* value : {"0", "-4", "99999999999999", "1e30", "99999999999999999999"}) {
      Json json = minimal("deepseek_v3");
      json.set(field, parse_json(value, "value"));
      const std::string error = error_of(json);
      EXPECT_NE(error.find(std::string("config.json: ") + field + " is "), std::string::npos)
          << field << error;
      EXPECT_NE(error.find("; it must be between 1 and "), std::string::npos) << error;
    }
  }
  EXPECT_NE(
      error_of(minimal("llama").set("num_hidden_layers", 100000000)).find("num_hidden_layers is 100000000"),
      std::string::npos);
}

TEST(ConfigFields, ExpertsThatTheRouterCannotChooseAreRefused) {
  const auto refusal = [](const char* family, std::vector<std::pair<const char*, Json>> fields) {
    Json json = minimal(family);
    for (const auto& [key, value] : fields) json.set(key, value);
    const std::string error = error_of(json);
    return error.starts_with("config.json: ") ? error.substr(13) : error;
  };
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts", 0}}), "num_experts is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts", 65537}}),
            "num_experts is 65537; it must be between 1 and 65536");
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts_per_tok", 0}}),
            "num_experts_per_tok is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts_per_tok", 9}}),
            "num_experts_per_tok is more than num_experts, 8");
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts", nullptr}, {"num_local_experts", 4}}),
            "");  // transformers 5's name
  EXPECT_EQ(refusal("qwen3_moe", {{"num_experts", nullptr}, {"num_local_experts", 0}}),
            "num_local_experts is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("deepseek_v2", {{"n_routed_experts", 0}}),
            "n_routed_experts is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("deepseek_v2", {{"num_experts_per_tok", nullptr}}), "num_experts_per_tok is null");
  EXPECT_EQ(refusal("deepseek_v2", {{"num_experts_per_tok", 9}}),
            "num_experts_per_tok is more than the experts of topk_group groups");
  EXPECT_EQ(refusal("deepseek_v2", {{"topk_method", "greedy"}, {"num_experts_per_tok", 17}}),
            "num_experts_per_tok is more than n_routed_experts, 16");
  EXPECT_EQ(refusal("deepseek_v2", {{"n_group", 3}}), "n_group does not divide n_routed_experts");
  EXPECT_EQ(refusal("deepseek_v2", {{"topk_group", 5}}), "topk_group is more than n_group");
  EXPECT_EQ(refusal("deepseek_v2", {{"n_group", 16}, {"topk_group", 4}}),
            "");  // a group of one is ranked by it
  EXPECT_EQ(refusal("deepseek_v2", {{"n_group", nullptr}}),
            "topk_method is group_limited_greedy, and there is no n_group");
  EXPECT_EQ(refusal("deepseek_v2", {{"topk_method", "noaux_tc"}}),
            "topk_method is noaux_tc: greedy and group_limited_greedy are known in deepseek_v2");
  EXPECT_EQ(refusal("deepseek_v2", {{"scoring_func", "tanh"}}),
            "scoring_func is not softmax, the router's function in deepseek_v2");
  EXPECT_EQ(refusal("deepseek_v3", {{"n_group", 16}}), "n_group leaves fewer than 2 experts a group");
}

TEST(ConfigFields, Qwen3MoeWindowsAreOfAllLayers) {
  Json json = minimal("qwen3_moe").set("use_sliding_window", true).set("sliding_window", 64);
  EXPECT_EQ(error_of(json),
            "config.json: use_sliding_window is true and gives layer 0 a window of 64 tokens: sliding "
            "windows are not "
            "known here");
  EXPECT_EQ(error_of(json.set("sliding_window", 512)), "");
}

TEST(ConfigFields, LayersWithExpertsAreTransformers) {
  const auto layers = [](const Json& json) {
    std::string out;
    const ModelConfig config = read_model_config(parse_json(json.dump(), "c"));
    for (int64_t layer = 0; layer < config.layers; ++layer) out += config.is_moe_layer(layer) ? 'e' : 'd';
    return out;
  };
  Json qwen = minimal("qwen3_moe").set("num_hidden_layers", 6);
  EXPECT_EQ(layers(qwen), "eeeeee");
  EXPECT_EQ(layers(qwen.set("decoder_sparse_step", 2)), "dedede");
  EXPECT_EQ(layers(qwen.set("mlp_only_layers", parse_json("[5, 1, 1]", "x"))), "dddedd");
  EXPECT_EQ(layers(minimal("deepseek_v2").set("num_hidden_layers", 4).set("first_k_dense_replace", 1)),
            "deee");
  EXPECT_EQ(layers(minimal("qwen3").set("num_hidden_layers", 2)), "dd");
}

TEST(ConfigFields, StopTokensOutsideTheVocabularyAreNamedAndLeftOut) {
  Json json = minimal("qwen2").set("eos_token_id", Json::array().push_back(3).push_back(151645));
  const ModelConfig config = read_model_config(parse_json(json.dump(), "config.json"));
  EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{3});
  EXPECT_EQ(config.warnings,
            std::vector<std::string>{
                "config.json: eos_token_id has 151645, and the vocabulary has ids 0 to 319: no answer "
                "ends with it"});
}

TEST(NewModelConfig, NamesTheNearestFieldAndAsksForTheSizes) {
  const auto refusal = [](const Json& json) -> std::string {
    try {
      read_new_model_config(parse_json(json.dump(), "[model.config]"));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  for (const char* family : {"llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3"}) {
    EXPECT_EQ(refusal(minimal(family)), "") << family;
    EXPECT_NE(refusal(minimal(family).set("hiden_act", "silu")).find("did you mean hidden_act?"),
              std::string::npos);
    for (const char* size :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
      const std::string error = refusal(without(minimal(family), size));
      EXPECT_NE(error.find(std::string(size) + " is missing"), std::string::npos) << family << error;
    }
  }
  EXPECT_NE(refusal(minimal("llama").set("kv_lora_rank", 8)).find("is no field of a llama model"),
            std::string::npos);
  const Json block = Json::object().set("rope_type", "linear").set("facto", 2);
  EXPECT_NE(refusal(minimal("llama").set("rope_scaling", block)).find("did you mean factor?"),
            std::string::npos);
  // Small models leave these fields out and use none of them.
  Json bare = minimal("deepseek_v3");
  for (const char* field : {"n_group", "topk_group", "q_lora_rank", "max_position_embeddings"})
    bare = without(bare, field);
  const ModelConfig config = read_new_model_config(bare);
  EXPECT_EQ(config.moe.groups, 1);
  EXPECT_EQ(config.moe.routed_scaling, 1.0f);
  EXPECT_EQ(config.q_lora_rank, 0);
  EXPECT_EQ(config.shared_experts, 0);
  EXPECT_EQ(config.first_dense_layers, 0);
  EXPECT_EQ(config.max_positions, 2048);
}

}  // namespace
}  // namespace r1::config_fields_test
