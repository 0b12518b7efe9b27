#include "model/known_models.h"

#include "base/ascii.h"
#include "formats/json.h"

namespace r1 {
namespace {

constexpr std::string_view kOwner = "deepseek-ai/";

struct KnownModel {
  const char* name;
  const char* config;  // what config.json says of the architecture
};

// clang-format off
constexpr KnownModel kKnownModels[] = {
    {"DeepSeek-R1",
     R"({"model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
         "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "n_routed_experts": 256, "num_experts_per_tok": 8,
         "n_shared_experts": 1, "n_group": 8, "topk_group": 4, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 3,
         "num_nextn_predict_layers": 1,
         "moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 1536, "kv_lora_rank": 512,
         "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "max_position_embeddings": 163840, "rope_theta": 10000,
         "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1,
                          "mscale": 1.0, "mscale_all_dim": 1.0}, "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
         "bos_token_id": 0, "eos_token_id": 1})"},
    {"DeepSeek-R1-Distill-Qwen-1.5B",
     R"({"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
         "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 131072, "rope_theta": 10000, "rms_norm_eps": 1e-6,
         "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 151646, "eos_token_id": 151643})"},
    {"DeepSeek-R1-Distill-Qwen-7B",
     R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
         "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 131072, "rope_theta": 10000, "rms_norm_eps": 1e-6,
         "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 151646, "eos_token_id": 151643})"},
    {"DeepSeek-R1-Distill-Qwen-14B",
     R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
         "num_attention_heads": 40, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rope_theta": 1000000, "rms_norm_eps": 1e-5,
         "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 151646, "eos_token_id": 151643})"},
    {"DeepSeek-R1-Distill-Qwen-32B",
     R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
         "num_attention_heads": 40, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rope_theta": 1000000, "rms_norm_eps": 1e-5,
         "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 151646, "eos_token_id": 151643})"},
    {"DeepSeek-R1-Distill-Llama-8B",
     R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "rope_theta": 500000,
         "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192}, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
         "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001})"},
    {"DeepSeek-R1-Distill-Llama-70B",
     R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
         "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "rope_theta": 500000,
         "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192}, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
         "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001})"},
};
// clang-format on

}  // namespace

std::optional<ModelConfig> known_model(std::string_view name) {
  if (name.size() > kOwner.size() && equal_ignoring_case(name.substr(0, kOwner.size()), kOwner))
    name.remove_prefix(kOwner.size());
  for (const KnownModel& model : kKnownModels) {
    if (equal_ignoring_case(name, model.name)) return read_model_config(parse_json(model.config, model.name));
  }
  return std::nullopt;
}

std::vector<std::string> known_model_names() {
  std::vector<std::string> names;
  for (const KnownModel& model : kKnownModels) names.push_back(std::string(kOwner) + model.name);
  return names;
}

}  // namespace r1
