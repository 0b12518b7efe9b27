// model/config.h: a model's sizes, read from and written to Hugging Face's config.json.
//
// Both spellings are read: transformers 4 (rope_theta and rope_scaling, torch_dtype) and 5 (rope_parameters,
// dtype; see rope_config.h). An absent field has the value that transformers gives it for that model_type. A
// field that transformers ignores is ignored. A field that transformers or vLLM apply and the forward here
// cannot is refused by name. tests/model/config_fields_test.cc lists every field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"
#include "model/rope_config.h"
#include "ops/moe/moe.h"
#include "tensor/dtype.h"

namespace r1 {

enum class Family : uint8_t { deepseek_v3, qwen2, qwen3, llama, qwen3_moe, deepseek_v2 };

struct ModelConfig {
  Family family = Family::llama;
  int64_t vocab_size = 0;         // V
  int64_t hidden_size = 0;        // D
  int64_t intermediate_size = 0;  // F of dense layers
  int64_t layers = 0;             // L
  int64_t heads = 0;              // H
  int64_t kv_heads = 0;           // G
  int64_t head_dim = 0;           // K (all but DeepSeek's)
  int64_t max_positions = 0;
  float rms_norm_eps = 1e-6f;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;  // qwen2; attention_bias of llama, qwen3 and qwen3_moe (with o_bias)
  bool o_bias = false;
  bool qk_norm = false;  // qwen3, qwen3_moe: RMSNorm of every query and key head, before rope
  bool mlp_bias = false;
  // The head gives one number per token and no logits: a value model, transformers' "...ForSequenceClassification"
  // with one label. Its head's matrix is score.weight.
  bool value_head = false;
  double initializer_range = 0.02;
  DType dtype = DType::f32;   // on disk
  int64_t bos_token_id = -1;  // -1: none
  std::vector<int32_t> eos_token_ids;
  std::vector<std::string> assumed;   // sizes that the file does not have: "hidden_size = 4096"
  std::vector<std::string> warnings;  // lines, each with the file's name

  // deepseek_v2 and deepseek_v3: latent attention
  int64_t q_lora_rank = 0;  // 0: none
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  bool rope_interleave = true;
  bool lora_bias = false;  // attention_bias: on q_a, kv_a and o
  // deepseek_v3: modules of multi-token prediction, the layers after the last one. The MTP head is the first.
  int64_t declared_prediction_layers = 0;  // the file's num_nextn_predict_layers
  // Those that a model has: 0 unless its loader asks for them (model/prediction.h).
  int64_t prediction_layers = 0;
  // The modules' own copies of the embedding and of the head, which files have and no forward reads.
  bool prediction_embedding = false, prediction_output = false;
  // deepseek_v2, deepseek_v3 and qwen3_moe: mixture of experts
  MoeConfig moe;
  int64_t moe_intermediate_size = 0;
  int64_t shared_experts = 0;              // deepseek_*
  int64_t first_dense_layers = 0;          // deepseek_*
  int64_t sparse_step = 1;                 // qwen3_moe: every sparse_step-th layer has experts,
  std::vector<int64_t> mlp_only_layers{};  // but none of these (ascending)

  bool is_latent() const { return family == Family::deepseek_v3 || family == Family::deepseek_v2; }
  bool has_experts() const { return is_latent() || family == Family::qwen3_moe; }
  bool has_selection_bias() const { return family == Family::deepseek_v3; }
  bool is_moe_layer(int64_t layer) const;
  // P: the part of a head that the rotary embedding turns.
  int64_t rope_width() const { return is_latent() ? qk_rope_head_dim : head_dim; }
  // Layers with keys and values: the model's, and the MTP head's if the model has it.
  int64_t cache_layers() const { return layers + (prediction_layers > 0 ? 1 : 0); }
  // Widths of one key/value head in the cache.
  int64_t cache_heads() const { return is_latent() ? 1 : kv_heads; }
  int64_t cache_key() const { return is_latent() ? kv_lora_rank + qk_rope_head_dim : head_dim; }
  int64_t cache_value() const { return is_latent() ? kv_lora_rank : head_dim; }
  bool cache_values_in_keys() const { return is_latent(); }
};

// Returns the config of a value model with the same trunk.
ModelConfig value_model_config(ModelConfig trunk);

// Reads a checkpoint's config.json. Throws Error naming the file and the field.
ModelConfig read_model_config(const Json& json);
// Reads a new model's config from [model.config]. A field that config.json does not have is an error, and the
// sizes are required.
ModelConfig read_new_model_config(const Json& json);
// Returns a config.json that both transformers 4 and 5 read.
Json to_json(const ModelConfig& config);
std::string_view name_of(Family family);  // model_type

// The fields of config.json that make a dimension of `size`: "hidden_size = 64"; "" if there are none.
std::string fields_of_size(const ModelConfig& config, int64_t size);

// Adds the ids of json[key] (null, an id or a list of ids) to `ids`, each once. An id beyond the vocabulary
// can never be drawn: it is left out, and one line about it goes to `warnings`. Throws Error for other kinds
// of values.
void read_special_ids(const Json& json, std::string_view key, int64_t vocab_size, std::vector<int32_t>& ids,
                      std::vector<std::string>& warnings);

}  // namespace r1
