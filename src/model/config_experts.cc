// model/config_experts.cc: the fields of config.json about experts: DeepSeek-V3's, DeepSeek-V2's and Qwen3's.
#include <fmt/format.h>

#include <algorithm>

#include "formats/shown.h"
#include "model/config_fields.h"

namespace r1 {
namespace {

// transformers' defaults.
struct ExpertDefaults {
  int64_t experts, active, width, shared, first_dense;
  double scaling;
};
constexpr ExpertDefaults kV3 = {
    .experts = 256, .active = 8, .width = 2048, .shared = 1, .first_dense = 3, .scaling = 2.5};
// V2 has no default of num_experts_per_tok.
constexpr ExpertDefaults kV2 = {
    .experts = 64, .active = 0, .width = 1407, .shared = 2, .first_dense = 0, .scaling = 1.0};

void check_groups(const Json& json, const MoeConfig& moe) {
  if (moe.experts % moe.groups != 0)
    fail_field(json, "n_group", moe.groups, "does not divide n_routed_experts");
  if (moe.groups > 1 && moe.group_rank == GroupRank::two_best && moe.experts / moe.groups < 2)
    fail_field(json, "n_group", moe.groups, "leaves fewer than 2 experts a group");
  if (moe.top_groups > moe.groups) fail_field(json, "topk_group", moe.top_groups, "is more than n_group");
  if (moe.active > moe.experts / moe.groups * moe.top_groups) {
    fail_field(json, "num_experts_per_tok", moe.active,
               moe.groups > 1 ? "is more than the experts of topk_group groups"
                              : fmt::format("is more than n_routed_experts, {}", moe.experts));
  }
}

void read_deepseek_experts(const Json& json, const ExpertDefaults& defaults, ModelConfig& config) {
  MoeConfig& moe = config.moe;
  moe.experts = size_field(json, "n_routed_experts", defaults.experts, config, kMaxExperts);
  if (defaults.active == 0) json.at("num_experts_per_tok");  // says that it is missing
  moe.active = whole_field_or(json, "num_experts_per_tok", defaults.active, 1, kMaxExperts);
  if (moe.active == 0) json.at("num_experts_per_tok").fail("is null");
  moe.routed_scaling = small_field_or(json, "routed_scaling_factor", defaults.scaling, 1e6);
  config.moe_intermediate_size = size_field(json, "moe_intermediate_size", defaults.width, config);
  config.shared_experts = whole_field_or(
      json, "n_shared_experts", json.contains("n_shared_experts") ? 0 : defaults.shared, 0, kMaxExperts);
  config.first_dense_layers =
      whole_field_or(json, "first_k_dense_replace",
                     json.contains("first_k_dense_replace") ? 0 : defaults.first_dense, 0, kMaxSize);
  // vLLM applies it; transformers has one value of it.
  if (json.get_int_or("moe_layer_freq", 1) != 1) json.at("moe_layer_freq").fail("is not 1");
}

void read_v3_experts(const Json& json, ModelConfig& config) {
  // vLLM applies these two; transformers has one value of each.
  if (json.get_string_or("scoring_func", "sigmoid") != "sigmoid")
    json.at("scoring_func").fail("is not sigmoid, the router's function in deepseek_v3");
  if (json.get_string_or("topk_method", "noaux_tc") != "noaux_tc")
    json.at("topk_method").fail("is not noaux_tc, the router's method in deepseek_v3");
  read_deepseek_experts(json, kV3, config);
  MoeConfig& moe = config.moe;
  moe.groups = whole_field_or(json, "n_group", 8, 1, kMaxExperts);
  moe.top_groups = whole_field_or(json, "topk_group", 4, 1, kMaxExperts);
  moe.norm_topk = json.get_bool_or("norm_topk_prob", true);
  check_groups(json, moe);
}

void read_v2_experts(const Json& json, ModelConfig& config) {
  if (json.get_string_or("scoring_func", "softmax") != "softmax")
    json.at("scoring_func").fail("is not softmax, the router's function in deepseek_v2");
  if (json.get_bool_or("norm_topk_prob", false)) {
    json.at("norm_topk_prob")
        .fail(
            "is true: transformers ignores it in deepseek_v2, other programs do not, and no published model "
            "has "
            "it, so it is not known here");
  }
  if (json.get_bool_or("mlp_bias", false))
    json.at("mlp_bias").fail("is true, which is not known in deepseek_v2");
  read_deepseek_experts(json, kV2, config);
  MoeConfig& moe = config.moe;
  moe.norm_topk = false;
  moe.score = RouterScore::softmax;
  moe.group_rank = GroupRank::best;
  const std::string method = json.get_string_or("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    for (const char* key : {"n_group", "topk_group"}) {
      if (given_field(json, key) == nullptr)
        json.at("topk_method").fail(fmt::format("is group_limited_greedy, and there is no {}", key));
    }
    moe.groups = whole_field_or(json, "n_group", 1, 1, kMaxExperts);
    moe.top_groups = whole_field_or(json, "topk_group", 1, 1, kMaxExperts);
  } else if (method != "greedy") {
    json.at("topk_method")
        .fail(fmt::format("is {}: greedy and group_limited_greedy are known in deepseek_v2", shown(method)));
  }
  check_groups(json, moe);
}

void read_qwen3_experts(const Json& json, ModelConfig& config) {
  MoeConfig& moe = config.moe;
  // transformers 5 has both names for one field.
  const char* const key = given_field(json, "num_experts") != nullptr ? "num_experts" : "num_local_experts";
  moe.experts = given_field(json, key) != nullptr ? size_field(json, key, 0, config, kMaxExperts)
                                                  : size_field(json, "num_experts", 128, config, kMaxExperts);
  moe.active = whole_field_or(json, "num_experts_per_tok", 8, 1, kMaxExperts);
  if (moe.active > moe.experts)
    fail_field(json, "num_experts_per_tok", moe.active,
               fmt::format("is more than num_experts, {}", moe.experts));
  moe.norm_topk = json.get_bool_or("norm_topk_prob", false);
  moe.score = RouterScore::softmax;
  config.moe_intermediate_size = size_field(json, "moe_intermediate_size", 768, config);
  config.sparse_step = whole_field_or(json, "decoder_sparse_step", 1, 1, kMaxSize);
  const Json* dense = given_field(json, "mlp_only_layers");
  if (dense == nullptr) return;
  for (const Json& item : dense->items()) {
    // Layers after the last one are ignored, as in transformers.
    const int64_t layer = whole_field(item, 0, kMaxSize);
    if (layer < config.layers) config.mlp_only_layers.push_back(layer);
  }
  std::ranges::sort(config.mlp_only_layers);
  const auto repeated = std::ranges::unique(config.mlp_only_layers);
  config.mlp_only_layers.erase(repeated.begin(), repeated.end());
}

}  // namespace

bool ModelConfig::is_moe_layer(int64_t layer) const {
  if (!has_experts() || moe.experts == 0) return false;
  if (is_latent()) return layer >= first_dense_layers;
  return (layer + 1) % sparse_step == 0 && !std::ranges::binary_search(mlp_only_layers, layer);
}

void read_expert_fields(const Json& json, ModelConfig& config) {
  switch (config.family) {
    case Family::deepseek_v3:
      return read_v3_experts(json, config);
    case Family::deepseek_v2:
      return read_v2_experts(json, config);
    case Family::qwen3_moe:
      return read_qwen3_experts(json, config);
    default:
      return;
  }
}

void write_expert_fields(const ModelConfig& config, Json& json) {
  const MoeConfig& moe = config.moe;
  const bool qwen = config.family == Family::qwen3_moe, v3 = config.family == Family::deepseek_v3;
  json.set(qwen ? "num_experts" : "n_routed_experts", moe.experts);
  if (!qwen) json.set("n_shared_experts", config.shared_experts);
  json.set("num_experts_per_tok", moe.active);
  json.set("moe_intermediate_size", config.moe_intermediate_size);
  if (qwen) {
    json.set("norm_topk_prob", moe.norm_topk);
    json.set("decoder_sparse_step", config.sparse_step);
    json.set("mlp_only_layers", Json::array_of(config.mlp_only_layers));
    return;
  }
  json.set("first_k_dense_replace", config.first_dense_layers);
  json.set("n_group", moe.groups);
  json.set("topk_group", moe.top_groups);
  json.set("norm_topk_prob", moe.norm_topk);
  json.set("routed_scaling_factor", shortest_decimal(moe.routed_scaling));
  json.set("scoring_func", v3 ? "sigmoid" : "softmax");
  json.set("topk_method", v3 ? "noaux_tc" : moe.groups > 1 ? "group_limited_greedy" : "greedy");
  json.set("moe_layer_freq", 1);
  if (v3) json.set("num_nextn_predict_layers", config.prediction_layers);
}

}  // namespace r1
