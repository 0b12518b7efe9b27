#include "model/gguf_keys.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "base/error.h"

namespace r1 {
namespace {

constexpr uint32_t kGatingSoftmax = 1, kGatingSigmoid = 2;

std::string_view architecture_of(const ModelConfig& config) {
  switch (config.family) {
    case Family::llama:
      return "llama";
    case Family::qwen2:
      return "qwen2";
    case Family::qwen3:
      return "qwen3";
    case Family::qwen3_moe:
      return "qwen3moe";
    case Family::deepseek_v2:
    case Family::deepseek_v3:
      return "deepseek2";
  }
  R1_CHECK(false, "unknown family");
}

class GgufKeyWriter {
 public:
  GgufKeyWriter(const ModelConfig& config, const std::string& source)
      : c_(config), source_(source), architecture_(architecture_of(config)) {}

  GgufKeys write() {
    keys_.set("general.architecture", architecture_).set("general.type", "model");
    count("vocab_size", c_.vocab_size);
    count("context_length", c_.max_positions);
    count("embedding_length", c_.hidden_size);
    count("block_count", c_.layers + c_.prediction_layers);
    if (c_.prediction_layers > 0) count("nextn_predict_layers", c_.prediction_layers);
    count("feed_forward_length", c_.intermediate_size);
    count("attention.head_count", c_.heads);
    number("attention.layer_norm_rms_epsilon", c_.rms_norm_eps);
    if (c_.is_latent()) {
      write_latent();
      write_experts();
    } else {
      write_dense();
    }
    if (c_.family == Family::qwen3_moe) write_qwen_experts();
    write_rope();
    return std::move(keys_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("{}: {}: GGUF has no place for it", source_, what));
  }
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  void count(std::string_view name, int64_t value) {
    R1_CHECK(value >= 0 && value <= int64_t{UINT32_MAX}, name, value);
    keys_.set(key(name), static_cast<uint32_t>(value));
  }
  void number(std::string_view name, double value) { keys_.set(key(name), static_cast<float>(value)); }

  void write_dense() {
    count("attention.head_count_kv", c_.kv_heads);
    count("attention.key_length", c_.head_dim);
    count("attention.value_length", c_.head_dim);
    count("rope.dimension_count", c_.head_dim);
  }

  // The latent form: one key/value head of the latent width, and kv_b split into attn_k_b and attn_v_b.
  void write_latent() {
    if (!c_.rope_interleave) refuse("rope_interleave = false");
    const int64_t key_width = c_.qk_nope_head_dim + c_.qk_rope_head_dim;
    count("attention.head_count_kv", 1);
    if (c_.q_lora_rank > 0) count("attention.q_lora_rank", c_.q_lora_rank);
    count("attention.kv_lora_rank", c_.kv_lora_rank);
    count("attention.key_length", c_.kv_lora_rank + c_.qk_rope_head_dim);
    count("attention.value_length", c_.kv_lora_rank);
    count("attention.key_length_mla", key_width);
    count("attention.value_length_mla", c_.v_head_dim);
    count("rope.dimension_count", c_.qk_rope_head_dim);
  }

  void write_experts() {
    if (c_.moe.experts == 0) refuse("a model of this type without experts");
    count("leading_dense_block_count", c_.first_dense_layers);
    count("expert_count", c_.moe.experts);
    count("expert_used_count", c_.moe.active);
    count("expert_shared_count", c_.shared_experts);
    count("expert_feed_forward_length", c_.moe_intermediate_size);
    count("expert_group_count", c_.moe.groups);
    count("expert_group_used_count", c_.moe.top_groups);
    number("expert_weights_scale", c_.moe.routed_scaling);
    keys_.set(key("expert_weights_norm"), c_.moe.norm_topk);
    keys_.set(key("expert_gating_func"),
              c_.moe.score == RouterScore::softmax ? kGatingSoftmax : kGatingSigmoid);
  }

  // Readers know which layers are dense by their tensors, and they always normalise the experts' weights.
  void write_qwen_experts() {
    if (!c_.moe.norm_topk) refuse("norm_topk_prob = false of a qwen3_moe");
    count("expert_count", c_.moe.experts);
    count("expert_used_count", c_.moe.active);
    count("expert_feed_forward_length", c_.moe_intermediate_size);
  }

  void write_rope() {
    const RopeConfig& rope = c_.rope;
    number("rope.freq_base", rope.theta);
    if (rope.type == RopeType::linear) {
      keys_.set(key("rope.scaling.type"), "linear");
      number("rope.scaling.factor", rope.factor);
    }
    if (rope.type == RopeType::yarn) write_yarn();
  }

  void write_yarn() {
    const RopeConfig& rope = c_.rope;
    if (!rope.truncate) refuse("truncate = false of its rope_scaling");
    if (rope.mscale != rope.mscale_all_dim)
      refuse(fmt::format("mscale = {} with mscale_all_dim = {}", rope.mscale, rope.mscale_all_dim));
    if (rope.attention_factor != 0.0) {
      const double usual = 0.1 * std::log(rope.factor) + 1.0;
      constexpr double kSame = 1e-6;
      if (std::fabs(rope.attention_factor - usual) > kSame)
        refuse(fmt::format("attention_factor = {}", rope.attention_factor));
    }
    keys_.set(key("rope.scaling.type"), "yarn");
    number("rope.scaling.factor", rope.factor);
    count("rope.scaling.original_context_length", rope.original_positions);
    number("rope.scaling.yarn_beta_fast", rope.beta_fast);
    number("rope.scaling.yarn_beta_slow", rope.beta_slow);
    if (rope.attn_factor != 1.0) number("rope.scaling.yarn_attn_factor", rope.attn_factor);
    if (rope.mscale_all_dim != 0.0) number("rope.scaling.yarn_log_multiplier", 0.1 * rope.mscale_all_dim);
  }

  const ModelConfig& c_;
  const std::string& source_;
  std::string_view architecture_;
  GgufKeys keys_;
};

}  // namespace

GgufKeys gguf_keys(const ModelConfig& config, const std::string& source) {
  return GgufKeyWriter(config, source).write();
}

std::vector<float> gguf_rope_factors(const ModelConfig& config) {
  if (config.rope.type != RopeType::llama3) return {};
  RopeConfig plain;
  plain.theta = config.rope.theta;
  const std::vector<float> from = rope_frequencies(plain, config.rope_width()).inverse,
                           to = rope_frequencies(config.rope, config.rope_width()).inverse;
  std::vector<float> factors;
  for (size_t i = 0; i < from.size(); ++i)
    factors.push_back(static_cast<float>(static_cast<double>(from[i]) / static_cast<double>(to[i])));
  return factors;
}

}  // namespace r1
