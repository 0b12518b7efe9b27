// tests/gpu/model_case.h: small models of every family with random weights, and random tokens for them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/model.h"
#include "tensor/transfer.h"
#include "tests/ops/test_util.h"

namespace r1::test {

inline Json common(const char* type) {
  Json json = Json::object();
  json.set("model_type", type).set("vocab_size", 333).set("hidden_size", 48).set("intermediate_size", 72);
  json.set("num_hidden_layers", 3).set("num_attention_heads", 6).set("max_position_embeddings", 256);
  return json;
}

inline std::map<std::string, Json> families() {
  const auto grouped = [](const char* type) {
    return common(type).set("num_key_value_heads", 2).set("head_dim", 12);
  };
  Json deepseek = common("deepseek_v3");
  deepseek.set("q_lora_rank", 20).set("kv_lora_rank", 24).set("qk_nope_head_dim", 10);
  deepseek.set("qk_rope_head_dim", 6).set("v_head_dim", 9).set("n_routed_experts", 12);
  deepseek.set("num_experts_per_tok", 3).set("n_group", 4).set("topk_group", 2);
  deepseek.set("moe_intermediate_size", 20).set("n_shared_experts", 1).set("first_k_dense_replace", 1);
  Json qwen_moe = grouped("qwen3_moe");
  qwen_moe.set("num_experts", 10).set("num_experts_per_tok", 3).set("moe_intermediate_size", 20);
  Json no_lora = deepseek, v2 = deepseek;
  no_lora.set("q_lora_rank", nullptr).set("norm_topk_prob", false);
  v2.set("model_type", "deepseek_v2").set("topk_method", "group_limited_greedy");
  return {{"llama", grouped("llama").set("tie_word_embeddings", true)},
          {"qwen2", grouped("qwen2")},
          {"qwen3", grouped("qwen3").set("tie_word_embeddings", true)},
          {"qwen3_moe", qwen_moe},
          {"deepseek_v2", v2},
          {"deepseek_v3", deepseek},
          {"deepseek_v3 without q_lora", no_lora}};
}

// A new model whose vectors (norms, biases) are random, too.
inline Model random_model(const Json& json, Memory& memory) {
  Model model = Model::create(read_model_config(parse_json(json.dump(), "config.json")), 5, memory);
  Random random(6);
  for (Parameter& p : model.parameters()) {
    if (p.value.shape.rank() != 1) continue;
    auto values = random_normal(random, p.value.count(), 0.2);
    for (float& v : values) v += p.name.find("norm") != std::string::npos ? 1.0f : 0.0f;
    write_values(memory, p.value, 0, values);
  }
  return model;
}

inline std::vector<int32_t> tokens_of(Random& random, int64_t n) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>(random.below(333)));
  return out;
}

inline void append_tokens(std::vector<int32_t>& to, const std::vector<int32_t>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace r1::test
