#include "model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/shown.h"
#include "model/config_fields.h"

namespace r1 {
namespace {

// The values that transformers 4.57 and 5.24 give to fields that a config.json does not have.
struct FamilyRow {
  const char* type;
  const char* architecture;
  int64_t vocab, hidden, intermediate, layers, heads, positions;
};
// By Family.
constexpr std::array<FamilyRow, 6> kFamilies = {
    {{"deepseek_v3", "DeepseekV3ForCausalLM", 129280, 7168, 18432, 61, 128, 4096},
     {"qwen2", "Qwen2ForCausalLM", 151936, 4096, 22016, 32, 32, 32768},
     {"qwen3", "Qwen3ForCausalLM", 151936, 4096, 22016, 32, 32, 32768},
     {"llama", "LlamaForCausalLM", 32000, 4096, 11008, 32, 32, 2048},
     {"qwen3_moe", "Qwen3MoeForCausalLM", 151936, 2048, 6144, 24, 32, 32768},
     {"deepseek_v2", "DeepseekV2ForCausalLM", 102400, 4096, 11008, 32, 32, 2048}}};

Family read_family(const Json& json) {
  const Json* type = given_field(json, "model_type");
  if (type == nullptr) {
    if (const Json* architectures = given_field(json, "architectures");
        architectures != nullptr && architectures->is_array()) {
      for (const Json& name : architectures->items()) {
        for (size_t i = 0; i < kFamilies.size(); ++i) {
          if (name.is_string() && name.string() == kFamilies[i].architecture) return static_cast<Family>(i);
        }
      }
    }
    json.at("model_type");  // says that it is missing
  }
  const std::string& name = json.get_string("model_type");
  std::array<std::string, kFamilies.size()> known;
  for (size_t i = 0; i < known.size(); ++i) {
    known[i] = kFamilies[i].type;
    if (name == known[i]) return static_cast<Family>(i);
  }
  // Related architectures that are refused, because they have other layers.
  const bool relative = name == "qwen2_moe" || name == "deepseek_v32";
  const std::string near = relative ? "" : nearest_name(name, known);
  json.at("model_type")
      .fail("is \"" + shown(name) + "\"" + (near.empty() ? "" : " (did you mean " + near + "?)") +
            ": deepseek_v2, deepseek_v3, qwen2, qwen3, qwen3_moe and llama are known");
}

// transformers counts the labels of id2label, and of num_labels if there is none; the default is two.
bool is_value_model(const Json& json) {
  const Json* architectures = given_field(json, "architectures");
  if (architectures == nullptr || !architectures->is_array() || architectures->items().size() != 1)
    return false;
  const Json& name = architectures->items().front();
  if (!name.is_string() || !name.string().ends_with("ForSequenceClassification")) return false;
  const Json* labels = given_field(json, "id2label");
  if (labels != nullptr && labels->is_object()) return labels->members().size() == 1;
  return json.get_int_or("num_labels", 2) == 1;
}

DType read_dtype(const Json& json) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Json* field = given_field(json, key);
    if (field == nullptr) continue;
    std::string_view name = field->string();
    if (name.starts_with("torch.")) name.remove_prefix(6);
    if (name == "float32" || name == "float64" || name == "auto") return DType::f32;
    if (name == "bfloat16") return DType::bf16;
    if (name == "float16") return DType::f16;
    field->fail("is \"" + shown(name) + "\": float32, bfloat16 and float16 are known");
  }
  return DType::f32;
}

// Qwen's windows, by transformers' rule. A window that no layer uses, or that is as long as the context,
// changes no bit. Llama and DeepSeek have no windows, whatever config.json says.
void refuse_windows(const Json& json, const ModelConfig& config) {
  constexpr int64_t kWindow = 4096, kFirst = 28;        // of transformers
  const bool moe = config.family == Family::qwen3_moe;  // all of its layers have the window, if there is one
  if (config.family != Family::qwen2 && config.family != Family::qwen3 && !moe) return;
  const Json* types = moe ? nullptr : given_field(json, "layer_types");
  if (types != nullptr && static_cast<int64_t>(types->size()) != config.layers) {
    types->fail("has " + std::to_string(types->size()) + " elements, num_hidden_layers is " +
                std::to_string(config.layers));
  }
  const bool null = json.contains("sliding_window") && json.at("sliding_window").is_null();
  const bool on = json.get_bool_or("use_sliding_window", false) && !null;
  const int64_t window = on ? whole_field_or(json, "sliding_window", kWindow, 0, INT64_MAX) : INT64_MAX;
  const int64_t first = moe ? 0 : whole_field_or(json, "max_window_layers", kFirst, 0, INT64_MAX);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    bool slides = layer >= first;
    if (types != nullptr) {
      const Json& type = types->at(static_cast<size_t>(layer));
      slides = type.string() == "sliding_attention";
      if (!slides && type.string() != "full_attention")
        type.fail("is " + shown(type.string()) + ": only full_attention is known here");
    }
    if (slides && window < config.max_positions) {
      json.at("use_sliding_window")
          .fail(fmt::format(
              "is true and gives layer {} a window of {} tokens: sliding windows are not known here", layer,
              window));
    }
  }
}

void read_attention_heads(const Json& json, ModelConfig& config) {
  const bool qwen = config.family == Family::qwen2 || config.family == Family::qwen3;
  // If it is absent, transformers assumes 32 for Qwen, whatever the number of heads. With fewer heads it can
  // only be equal to their number.
  // Qwen3's models with experts have 4.
  constexpr int64_t kQwenDefault = 32, kMoeDefault = 4;
  const bool absent = !json.contains("num_key_value_heads");
  int64_t fallback = qwen && absent && config.heads % kQwenDefault == 0 ? kQwenDefault : config.heads;
  if (config.family == Family::qwen3_moe && absent) fallback = kMoeDefault;
  config.kv_heads = whole_field_or(json, "num_key_value_heads", fallback, 1, kMaxSize);
  if (config.heads % config.kv_heads != 0)
    fail_field(json, "num_key_value_heads", config.kv_heads, "does not divide num_attention_heads");
  // Qwen3's default is a fixed number, not a quotient.
  const bool number = config.family == Family::qwen3 && !json.contains("head_dim");
  if (given_field(json, "head_dim") == nullptr && !number && config.hidden_size % config.heads != 0) {
    fail_field(json, "num_attention_heads", config.heads,
               "does not divide hidden_size, and there is no head_dim");
  }
  config.head_dim =
      whole_field_or(json, "head_dim", number ? 128 : config.hidden_size / config.heads, 1, kMaxSize);
  if (config.head_dim % 2 != 0) json.fail("head_dim is odd: rotary pairs need an even one");
}

void read_deepseek(const Json& json, ModelConfig& config) {
  config.q_lora_rank =
      whole_field_or(json, "q_lora_rank", json.contains("q_lora_rank") ? 0 : 1536, 1, kMaxSize);
  config.kv_lora_rank = size_field(json, "kv_lora_rank", 512, config);
  config.qk_nope_head_dim = size_field(json, "qk_nope_head_dim", 128, config);
  config.qk_rope_head_dim = size_field(json, "qk_rope_head_dim", 64, config);
  if (config.qk_rope_head_dim % 2 != 0)
    json.at("qk_rope_head_dim").fail("is odd: rotary pairs need an even one");
  config.v_head_dim = size_field(json, "v_head_dim", 128, config);
  // In DeepSeek-V2 the two numbers of a pair are always side by side.
  if (config.family == Family::deepseek_v3) {
    config.rope_interleave = json.get_bool_or("rope_interleave", true);
    constexpr int64_t kMost = 64;
    config.declared_prediction_layers = whole_field_or(json, "num_nextn_predict_layers", 0, 0, kMost);
  }
  config.lora_bias = json.get_bool_or("attention_bias", false);
  read_expert_fields(json, config);
}

// Weights in R1's own FP8 are read (tensor/fp8.h). Every other quantisation is refused.
void check_quantised(const Json& json) {
  const Json* field = given_field(json, "quantization_config");
  if (field == nullptr || (field->is_object() && field->size() == 0)) return;
  const Json* method = field->is_object() ? given_field(*field, "quant_method") : nullptr;
  if (method == nullptr || !method->is_string() || method->string() != "fp8") {
    field->fail(fmt::format(
        "asks for quantised weights{}, which r1 does not load: take a checkpoint in bfloat16 or fp8",
        method != nullptr && method->is_string() ? " (" + shown(method->string()) + ")" : ""));
  }
  if (field->get_string_or("fmt", "e4m3") != "e4m3") field->at("fmt").fail("is not e4m3");
  if (field->get_string_or("activation_scheme", "dynamic") != "dynamic")
    field->at("activation_scheme").fail("is not dynamic");
  const Json* block = field->find("weight_block_size");
  if (block == nullptr) return;  // transformers' default is [128, 128]
  const bool pair = block->is_array() && block->size() == 2;
  for (size_t i = 0; i < 2; ++i) {
    if (!pair || !block->at(i).is_number() || block->at(i).number() != 128.0)
      block->fail(fmt::format("is {}; [128, 128] is known", shown(block->dump())));
  }
}

}  // namespace

std::string_view name_of(Family family) {
  return kFamilies[static_cast<size_t>(family)].type;
}

void read_special_ids(const Json& json, std::string_view key, int64_t vocab_size, std::vector<int32_t>& ids,
                      std::vector<std::string>& warnings) {
  const Json* field = given_field(json, key);
  if (field == nullptr) return;
  std::vector<int64_t> foreign;
  const auto take = [&](const Json& value) {
    const int64_t id = value.integer();
    if (id < 0 || id >= vocab_size) {
      foreign.push_back(id);
    } else if (std::ranges::find(ids, id) == ids.end()) {
      ids.push_back(static_cast<int32_t>(id));
    }
  };
  if (field->is_array()) {
    for (const Json& value : field->items()) take(value);
  } else {
    take(*field);
  }
  if (foreign.empty()) return;
  warnings.push_back(fmt::format("{}: {} has {}, and the vocabulary has ids 0 to {}: no answer ends with {}",
                                 json.source(), key, fmt::join(foreign, ", "), vocab_size - 1,
                                 foreign.size() == 1 ? "it" : "them"));
}

ModelConfig read_model_config(const Json& json) {
  ModelConfig config;
  config.family = read_family(json);
  check_quantised(json);
  const FamilyRow& row = kFamilies[static_cast<size_t>(config.family)];
  config.vocab_size = size_field(json, "vocab_size", row.vocab, config);
  config.hidden_size = size_field(json, "hidden_size", row.hidden, config);
  config.intermediate_size = size_field(json, "intermediate_size", row.intermediate, config);
  config.layers = size_field(json, "num_hidden_layers", row.layers, config, kMaxLayers);
  config.heads = size_field(json, "num_attention_heads", row.heads, config);
  config.max_positions = whole_field_or(json, "max_position_embeddings", row.positions, 1, kMaxSize);
  config.rms_norm_eps = small_field_or(json, "rms_norm_eps", 1e-6, 1.0);
  config.value_head = is_value_model(json);
  config.tie_word_embeddings = json.get_bool_or("tie_word_embeddings", false) && !config.value_head;
  config.initializer_range = json.get_number_or("initializer_range", 0.02);
  config.dtype = read_dtype(json);
  const std::string act = json.get_string_or("hidden_act", "silu");
  if (act != "silu" && act != "swish") json.at("hidden_act").fail("is not silu");
  config.rope = read_rope_config(json, config.max_positions);
  // transformers scales DeepSeek's scores by mscale_all_dim with other types too.
  if (config.is_latent()) refuse_stray_mscale(json);
  refuse_windows(json, config);
  std::vector<int32_t> bos;
  std::vector<std::string> nobody;  // no token of the answer depends on it
  read_special_ids(json, "bos_token_id", config.vocab_size, bos, nobody);
  if (!bos.empty()) config.bos_token_id = bos.front();
  read_special_ids(json, "eos_token_id", config.vocab_size, config.eos_token_ids, config.warnings);
  if (config.is_latent()) {
    read_deepseek(json, config);
    return config;
  }
  read_attention_heads(json, config);
  if (config.family == Family::qwen2) {
    config.qkv_bias = true;
  } else {
    config.qkv_bias = config.o_bias = json.get_bool_or("attention_bias", false);
    config.qk_norm = config.family == Family::qwen3 || config.family == Family::qwen3_moe;
    config.mlp_bias = config.family == Family::llama && json.get_bool_or("mlp_bias", false);
  }
  read_expert_fields(json, config);
  return config;
}

ModelConfig read_new_model_config(const Json& json) {
  static const std::vector<std::string> kCommon = {
      "architectures",       "model_type",          "vocab_size",
      "hidden_size",         "intermediate_size",   "num_hidden_layers",
      "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
      "rms_norm_eps",        "rope_theta",          "rope_scaling",
      "rope_parameters",     "hidden_act",          "tie_word_embeddings",
      "initializer_range",   "torch_dtype",         "dtype",
      "bos_token_id",        "eos_token_id",        "attention_bias"};
  static const std::vector<std::string> kDense = {"head_dim", "mlp_bias"};
  static const std::vector<std::string> kQwenExperts = {
      "head_dim",       "num_experts",         "num_experts_per_tok", "moe_intermediate_size",
      "norm_topk_prob", "decoder_sparse_step", "mlp_only_layers"};
  static const std::vector<std::string> kDeepseek = {
      "q_lora_rank",         "kv_lora_rank",          "qk_nope_head_dim",        "qk_rope_head_dim",
      "v_head_dim",          "rope_interleave",       "n_routed_experts",        "n_shared_experts",
      "num_experts_per_tok", "moe_intermediate_size", "first_k_dense_replace",   "n_group",
      "topk_group",          "norm_topk_prob",        "routed_scaling_factor",   "scoring_func",
      "topk_method",         "moe_layer_freq",        "num_nextn_predict_layers"};
  // The values of the fields that a small model leaves out.
  static const std::vector<std::pair<const char*, Json>> kDefaults = {{"max_position_embeddings", 2048},
                                                                      {"q_lora_rank", nullptr},
                                                                      {"n_group", 1},
                                                                      {"topk_group", 1},
                                                                      {"routed_scaling_factor", 1.0},
                                                                      {"n_shared_experts", 0},
                                                                      {"first_k_dense_replace", 0}};
  const Family family = read_family(json);
  const bool deepseek = family == Family::deepseek_v3 || family == Family::deepseek_v2;
  const bool experts = deepseek || family == Family::qwen3_moe;
  std::vector<std::string> known = kCommon;
  const std::vector<std::string>& own = deepseek ? kDeepseek : experts ? kQwenExperts : kDense;
  known.insert(known.end(), own.begin(), own.end());
  for (const auto& [key, value] : json.members()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    const std::string near = nearest_name(key, known);
    value.fail(fmt::format("is no field of a {} model{}", json.get_string("model_type"),
                           near.empty() ? "" : " (did you mean " + near + "?)"));
  }
  refuse_unknown_rope_keys(json);
  Json full = json;
  for (const auto& [key, value] : kDefaults) {
    if (!full.contains(key)) full.set(key, value);
  }
  if (experts) full.at("num_experts_per_tok");
  ModelConfig config = read_model_config(full);
  if (config.declared_prediction_layers > 0)
    full.at("num_nextn_predict_layers")
        .fail(fmt::format("is {}; it must be 0: r1 trains no MTP head", config.declared_prediction_layers));
  if (!config.assumed.empty()) {
    const std::string& first = config.assumed.front();
    full.at(first.substr(0, first.find(' ')));  // says that it is missing
  }
  return config;
}

std::string fields_of_size(const ModelConfig& c, int64_t size) {
  using Rows = std::vector<std::pair<const char*, int64_t>>;
  Rows rows = {{"vocab_size", c.vocab_size},
               {"hidden_size", c.hidden_size},
               {"intermediate_size", c.intermediate_size}};
  const auto add = [&rows](const Rows& more) { rows.insert(rows.end(), more.begin(), more.end()); };
  if (c.has_experts()) add({{"moe_intermediate_size", c.moe_intermediate_size}});
  if (c.is_latent()) {
    const int64_t query = c.qk_nope_head_dim + c.qk_rope_head_dim;
    add({{"n_shared_experts * moe_intermediate_size", c.shared_experts * c.moe_intermediate_size},
         {"n_routed_experts", c.moe.experts},
         {"q_lora_rank", c.q_lora_rank},
         {"kv_lora_rank", c.kv_lora_rank},
         {"kv_lora_rank + qk_rope_head_dim", c.kv_lora_rank + c.qk_rope_head_dim},
         {"num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)", c.heads * query},
         {"num_attention_heads * (qk_nope_head_dim + v_head_dim)",
          c.heads * (c.qk_nope_head_dim + c.v_head_dim)},
         {"num_attention_heads * v_head_dim", c.heads * c.v_head_dim}});
  } else {
    if (c.has_experts()) add({{"num_experts", c.moe.experts}});
    add({{"head_dim", c.head_dim},
         {"num_attention_heads * head_dim", c.heads * c.head_dim},
         {"num_key_value_heads * head_dim", c.kv_heads * c.head_dim}});
  }
  std::vector<std::string> names;
  for (const auto& [name, value] : rows) {
    if (value == size) names.push_back(name);
  }
  return names.empty() ? "" : fmt::format("{} = {}", fmt::join(names, " or "), size);
}

}  // namespace r1
