#include "model/config.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;  // keeps every product of two sizes inside int64

int64_t positive(const Json& json, std::string_view key) {
  const int64_t value = json.get_int(key);
  if (value < 1 || value > kMaxSize) json.at(key).fail("is out of range: at least 1 is wanted");
  return value;
}

int64_t positive_or(const Json& json, std::string_view key, int64_t fallback) {
  const Json* field = json.find(key);
  return field == nullptr || field->is_null() ? fallback : positive(json, key);
}

// A number kept as f32, which 1e300 would not survive.
float small_or(const Json& json, std::string_view key, double fallback, double limit) {
  const double value = json.get_number_or(key, fallback);
  if (!(value >= 0.0 && value <= limit))
    json.at(key).fail(fmt::format("is {}: 0 to {} is wanted", value, limit));
  return static_cast<float>(value);
}

struct FamilyName {
  const char* type;
  const char* architecture;
};
// By Family.
constexpr std::array<FamilyName, 4> kFamilies = {{{"deepseek_v3", "DeepseekV3ForCausalLM"},
                                                  {"qwen2", "Qwen2ForCausalLM"},
                                                  {"qwen3", "Qwen3ForCausalLM"},
                                                  {"llama", "LlamaForCausalLM"}}};

Family read_family(const Json& json) {
  const std::string& type = json.get_string("model_type");
  std::array<std::string, kFamilies.size()> known;
  for (size_t i = 0; i < known.size(); ++i) {
    known[i] = kFamilies[i].type;
    if (type == known[i]) return static_cast<Family>(i);
  }
  // A relative that is not meant: it has other layers.
  const bool relative = type == "qwen2_moe" || type == "qwen3_moe" || type == "deepseek_v2";
  const std::string near = relative ? "" : nearest_name(type, known);
  json.at("model_type")
      .fail("is \"" + shown(type) + "\"" + (near.empty() ? "" : " (did you mean " + near + "?)") +
            ": deepseek_v3, qwen2, qwen3 and llama are known");
}

DType read_dtype(const Json& json) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Json* field = json.find(key);
    if (field == nullptr || field->is_null()) continue;
    const std::string& name = field->string();
    if (name == "float32") return DType::f32;
    if (name == "bfloat16") return DType::bf16;
    if (name == "float16") return DType::f16;
    field->fail("is \"" + shown(name) + "\": float32, bfloat16 and float16 are known");
  }
  return DType::f32;
}

void read_token_ids(const Json& json, ModelConfig& config) {
  config.bos_token_id = json.get_int_or("bos_token_id", -1);
  const auto id = [&](const Json& value) {
    const int64_t i = value.integer();
    if (i < 0 || i >= config.vocab_size) value.fail("is no token of the vocabulary");
    return static_cast<int32_t>(i);
  };
  const Json* eos = json.find("eos_token_id");
  if (eos == nullptr || eos->is_null()) return;
  if (eos->is_array()) {
    for (const Json& value : eos->items()) config.eos_token_ids.push_back(id(value));
  } else {
    config.eos_token_ids.push_back(id(*eos));
  }
}

void refuse_windows(const Json& json, const ModelConfig& config) {
  if (json.get_bool_or("use_sliding_window", false))
    json.at("use_sliding_window").fail("is true: sliding windows are not known here");
  const Json* types = json.find("layer_types");
  if (types == nullptr || types->is_null()) return;
  for (const Json& type : types->items()) {
    if (type.string() != "full_attention")
      type.fail("is " + shown(type.string()) + ": only full_attention is known here");
  }
  if (static_cast<int64_t>(types->size()) != config.layers)
    types->fail("has " + std::to_string(types->size()) + " elements, num_hidden_layers is " +
                std::to_string(config.layers));
}

void read_attention_heads(const Json& json, ModelConfig& config) {
  config.kv_heads = positive_or(json, "num_key_value_heads", config.heads);
  if (config.heads % config.kv_heads != 0)
    json.at("num_key_value_heads").fail("does not divide num_attention_heads");
  if (json.find("head_dim") == nullptr && config.family != Family::qwen3 &&
      config.hidden_size % config.heads != 0) {
    json.at("num_attention_heads").fail("does not divide hidden_size, and there is no head_dim");
  }
  // Qwen3's default is a number, not a quotient.
  const bool qwen3 = config.family == Family::qwen3;
  config.head_dim = positive_or(json, "head_dim", qwen3 ? 128 : config.hidden_size / config.heads);
  if (config.head_dim % 2 != 0) json.fail("head_dim is odd: rotary pairs need an even one");
}

void read_deepseek(const Json& json, ModelConfig& config) {
  if (json.find("quantization_config") != nullptr && !json.at("quantization_config").is_null()) {
    json.at("quantization_config").fail("asks for quantised weights, which this build does not load");
  }
  config.q_lora_rank = positive_or(json, "q_lora_rank", 0);
  config.kv_lora_rank = positive(json, "kv_lora_rank");
  config.qk_nope_head_dim = positive(json, "qk_nope_head_dim");
  config.qk_rope_head_dim = positive(json, "qk_rope_head_dim");
  if (config.qk_rope_head_dim % 2 != 0)
    json.at("qk_rope_head_dim").fail("is odd: rotary pairs need an even one");
  config.v_head_dim = positive(json, "v_head_dim");
  config.rope_interleave = json.get_bool_or("rope_interleave", true);
  config.lora_bias = json.get_bool_or("attention_bias", false);
  if (json.get_int_or("moe_layer_freq", 1) != 1) json.at("moe_layer_freq").fail("is not 1");
  if (json.get_string_or("scoring_func", "sigmoid") != "sigmoid")
    json.at("scoring_func").fail("is not sigmoid");
  if (json.get_string_or("topk_method", "noaux_tc") != "noaux_tc")
    json.at("topk_method").fail("is not noaux_tc");
  config.first_dense_layers = json.get_int_or("first_k_dense_replace", 0);
  if (config.first_dense_layers < 0) json.at("first_k_dense_replace").fail("is negative");
  MoeConfig& moe = config.moe;
  moe.experts = positive(json, "n_routed_experts");
  moe.active = positive(json, "num_experts_per_tok");
  moe.groups = positive_or(json, "n_group", 1);
  moe.top_groups = positive_or(json, "topk_group", 1);
  moe.norm_topk = json.get_bool_or("norm_topk_prob", true);
  moe.routed_scaling = small_or(json, "routed_scaling_factor", 1.0, 1e6);
  config.moe_intermediate_size = positive(json, "moe_intermediate_size");
  config.shared_experts = json.get_int_or("n_shared_experts", 0);
  if (config.shared_experts < 0) json.at("n_shared_experts").fail("is negative");
  if (moe.experts % moe.groups != 0) json.at("n_group").fail("does not divide n_routed_experts");
  if (moe.groups > 1 && moe.experts / moe.groups < 2)
    json.at("n_group").fail("leaves fewer than 2 experts a group");
  if (moe.top_groups > moe.groups) json.at("topk_group").fail("is more than n_group");
  if (moe.active > moe.experts / moe.groups * moe.top_groups) {
    json.at("num_experts_per_tok").fail("is more than the experts of topk_group groups");
  }
}

// The decimal number that a person wrote for an f32: 1e-6, not 9.99999997e-7.
double shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double out = 0;
  std::from_chars(text, end, out);
  return out;
}

}  // namespace

std::string_view name_of(Family family) {
  return kFamilies[static_cast<size_t>(family)].type;
}

ModelConfig read_model_config(const Json& json) {
  ModelConfig config;
  config.family = read_family(json);
  config.vocab_size = positive(json, "vocab_size");
  config.hidden_size = positive(json, "hidden_size");
  config.intermediate_size = positive(json, "intermediate_size");
  config.layers = positive(json, "num_hidden_layers");
  config.heads = positive(json, "num_attention_heads");
  config.max_positions = positive_or(json, "max_position_embeddings", 2048);
  config.rms_norm_eps = small_or(json, "rms_norm_eps", 1e-6, 1.0);
  config.tie_word_embeddings = json.get_bool_or("tie_word_embeddings", false);
  config.initializer_range = json.get_number_or("initializer_range", 0.02);
  config.dtype = read_dtype(json);
  if (json.get_string_or("hidden_act", "silu") != "silu") json.at("hidden_act").fail("is not silu");
  config.rope = read_rope_config(json, config.max_positions);
  refuse_windows(json, config);
  read_token_ids(json, config);
  if (config.family == Family::deepseek_v3) {
    read_deepseek(json, config);
    return config;
  }
  read_attention_heads(json, config);
  if (config.family == Family::qwen2) {
    config.qkv_bias = true;
  } else {
    config.qkv_bias = config.o_bias = json.get_bool_or("attention_bias", false);
    config.qk_norm = config.family == Family::qwen3;
    config.mlp_bias = config.family == Family::llama && json.get_bool_or("mlp_bias", false);
  }
  return config;
}

Json to_json(const ModelConfig& config) {
  const auto dtype = [&] {
    return config.dtype == DType::bf16 ? "bfloat16" : config.dtype == DType::f16 ? "float16" : "float32";
  };
  const bool deepseek = config.family == Family::deepseek_v3;
  Json json = Json::object();
  const FamilyName& name = kFamilies[static_cast<size_t>(config.family)];
  json.set("architectures", Json::array().push_back(name.architecture));
  json.set("model_type", name.type);
  json.set("vocab_size", config.vocab_size);
  json.set("hidden_size", config.hidden_size);
  json.set("intermediate_size", config.intermediate_size);
  json.set("num_hidden_layers", config.layers);
  json.set("num_attention_heads", config.heads);
  json.set("num_key_value_heads", deepseek ? config.heads : config.kv_heads);
  json.set("max_position_embeddings", config.max_positions);
  json.set("rms_norm_eps", shortest(config.rms_norm_eps));
  write_rope_config(config.rope, json);
  json.set("hidden_act", "silu");
  json.set("tie_word_embeddings", config.tie_word_embeddings);
  json.set("initializer_range", config.initializer_range);
  json.set("torch_dtype", dtype());
  json.set("bos_token_id", config.bos_token_id < 0 ? Json() : Json(config.bos_token_id));
  json.set("eos_token_id", config.eos_token_ids.empty()       ? Json()
                           : config.eos_token_ids.size() == 1 ? Json(config.eos_token_ids[0])
                                                              : Json::array_of(config.eos_token_ids));
  if (!deepseek) {
    json.set("head_dim", config.head_dim);
    if (config.family != Family::qwen2) json.set("attention_bias", config.qkv_bias);
    if (config.family == Family::llama) json.set("mlp_bias", config.mlp_bias);
    return json;
  }
  json.set("attention_bias", config.lora_bias);
  json.set("q_lora_rank", config.q_lora_rank == 0 ? Json() : Json(config.q_lora_rank));
  json.set("kv_lora_rank", config.kv_lora_rank);
  json.set("qk_nope_head_dim", config.qk_nope_head_dim);
  json.set("qk_rope_head_dim", config.qk_rope_head_dim);
  json.set("v_head_dim", config.v_head_dim);
  json.set("rope_interleave", config.rope_interleave);
  json.set("n_routed_experts", config.moe.experts);
  json.set("n_shared_experts", config.shared_experts);
  json.set("num_experts_per_tok", config.moe.active);
  json.set("moe_intermediate_size", config.moe_intermediate_size);
  json.set("first_k_dense_replace", config.first_dense_layers);
  json.set("n_group", config.moe.groups);
  json.set("topk_group", config.moe.top_groups);
  json.set("norm_topk_prob", config.moe.norm_topk);
  json.set("routed_scaling_factor", shortest(config.moe.routed_scaling));
  json.set("scoring_func", "sigmoid");
  json.set("topk_method", "noaux_tc");
  json.set("moe_layer_freq", 1);
  json.set("num_nextn_predict_layers", 0);
  return json;
}

}  // namespace r1
