// model/config_write.cc: writes config.json.
#include <array>

#include "model/config_fields.h"

namespace r1 {
namespace {

// By Family.
constexpr std::array<const char*, 6> kArchitectures = {"DeepseekV3ForCausalLM", "Qwen2ForCausalLM",
                                                       "Qwen3ForCausalLM",      "LlamaForCausalLM",
                                                       "Qwen3MoeForCausalLM",   "DeepseekV2ForCausalLM"};

std::string head_architecture(const ModelConfig& config) {
  std::string name = kArchitectures[static_cast<size_t>(config.family)];
  constexpr std::string_view kSampling = "ForCausalLM";
  if (config.value_head)
    name.replace(name.size() - kSampling.size(), kSampling.size(), "ForSequenceClassification");
  return name;
}

}  // namespace

ModelConfig value_model_config(ModelConfig trunk) {
  trunk.value_head = true;
  trunk.tie_word_embeddings = false;
  trunk.prediction_layers = 0;
  return trunk;
}

Json to_json(const ModelConfig& config) {
  const auto dtype = [&] {
    return config.dtype == DType::bf16 ? "bfloat16" : config.dtype == DType::f16 ? "float16" : "float32";
  };
  const bool deepseek = config.is_latent();
  Json json = Json::object();
  json.set("architectures", Json::array().push_back(head_architecture(config)));
  if (config.value_head) {
    json.set("id2label", Json::object().set("0", "value")).set("label2id", Json::object().set("value", 0));
  }
  json.set("model_type", name_of(config.family));
  json.set("vocab_size", config.vocab_size);
  json.set("hidden_size", config.hidden_size);
  json.set("intermediate_size", config.intermediate_size);
  json.set("num_hidden_layers", config.layers);
  json.set("num_attention_heads", config.heads);
  json.set("num_key_value_heads", deepseek ? config.heads : config.kv_heads);
  json.set("max_position_embeddings", config.max_positions);
  json.set("rms_norm_eps", shortest_decimal(config.rms_norm_eps));
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
    if (config.has_experts()) write_expert_fields(config, json);
    return json;
  }
  json.set("attention_bias", config.lora_bias);
  json.set("q_lora_rank", config.q_lora_rank == 0 ? Json() : Json(config.q_lora_rank));
  json.set("kv_lora_rank", config.kv_lora_rank);
  json.set("qk_nope_head_dim", config.qk_nope_head_dim);
  json.set("qk_rope_head_dim", config.qk_rope_head_dim);
  json.set("v_head_dim", config.v_head_dim);
  if (config.family == Family::deepseek_v3) json.set("rope_interleave", config.rope_interleave);
  write_expert_fields(config, json);
  return json;
}

}  // namespace r1
