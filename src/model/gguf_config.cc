#include "model/gguf_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/safetensors.h"
#include "formats/shown.h"
#include "model/config_fields.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"

namespace r1 {
namespace {

constexpr int64_t kMaxGgufSize = int64_t{1} << 30;

struct ArchitectureRow {
  std::string_view name, model_type;
};
// deepseek2 is also DeepSeek-V2, whose router is another (is_softmax).
constexpr std::array<ArchitectureRow, 5> kGgufArchitectures = {{{"llama", "llama"},
                                                                {"qwen2", "qwen2"},
                                                                {"qwen3", "qwen3"},
                                                                {"qwen3moe", "qwen3_moe"},
                                                                {"deepseek2", "deepseek_v3"}}};
constexpr int64_t kMaxGgufExperts = int64_t{1} << 16;

// Keys of an architecture that change what is computed and that no model here has.
constexpr std::string_view kForeignKeys[] = {"logit_scale",
                                             "residual_scale",
                                             "embedding_scale",
                                             "attention.scale",
                                             "attention.clamp_kqv",
                                             "attention.max_alibi_bias",
                                             "attn_logit_softcapping",
                                             "final_logit_softcapping",
                                             "rope.dimension_sections",
                                             "n_deepstack_layers"};

class GgufConfigReader {
 public:
  explicit GgufConfigReader(const GgufFile& file) : file_(file), keys_(file.metadata()) {}
  Json read();

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  int64_t whole(std::string_view name, int64_t low = 1, int64_t high = kMaxGgufSize) const;
  int64_t whole_or(std::string_view name, int64_t fallback, int64_t low = 1,
                   int64_t high = kMaxGgufSize) const;
  double number_or(std::string_view name, double fallback) const;
  bool has_tensor(std::string_view name) const { return file_.find(name) != nullptr; }
  int64_t vocabulary() const;
  std::string matrix_type() const;
  void refuse_foreign() const;
  void read_common(Json& json) const;
  void read_token(Json& json, const char* field, std::string_view key) const;
  void read_dense(Json& json) const;
  void read_biases(Json& json) const;
  void read_latent(Json& json) const;
  // Modules of multi-token prediction. block_count counts their layers.
  int64_t prediction_layers() const;
  int64_t experts() const { return whole("expert_count", 1, kMaxGgufExperts); }
  bool is_softmax() const;
  void read_experts(Json& json) const;
  void read_router(Json& json) const;
  void read_qwen_experts(Json& json) const;
  void read_rope(Json& json) const;
  Json read_yarn(double factor) const;
  Json read_rotary_factors(double theta) const;

  const GgufFile& file_;
  const GgufMetadata& keys_;
  std::string_view architecture_;
};

// A whole number, or an array with one number for each layer, which must all be equal.
int64_t GgufConfigReader::whole(std::string_view name, int64_t low, int64_t high) const {
  const std::string full = key(name);
  int64_t value = 0;
  if (keys_.is_array(full)) {
    const std::vector<int64_t> all = keys_.integers(full);
    if (all.empty()) keys_.fail(full, "is empty");
    if (std::ranges::adjacent_find(all, std::not_equal_to<>()) != all.end())
      keys_.fail(full, "differs between layers: all layers have one size here");
    value = all.front();
  } else {
    value = keys_.get_int(full);
  }
  if (value < low || value > high)
    keys_.fail(full, fmt::format("is {}; it must be between {} and {}", value, low, high));
  return value;
}

int64_t GgufConfigReader::whole_or(std::string_view name, int64_t fallback, int64_t low, int64_t high) const {
  return keys_.contains(key(name)) ? whole(name, low, high) : fallback;
}

double GgufConfigReader::number_or(std::string_view name, double fallback) const {
  const std::string full = key(name);
  const double value = keys_.get_number_or(full, fallback);
  if (!std::isfinite(value)) keys_.fail(full, "is no finite number");
  return keys_.contains(full) ? shortest_decimal(static_cast<float>(value)) : fallback;
}

int64_t GgufConfigReader::vocabulary() const {
  if (const GgufTensor* table = file_.find("token_embd.weight"); table != nullptr && table->shape.size() == 2)
    return table->shape[0];
  if (keys_.contains(key("vocab_size"))) return whole("vocab_size");
  throw Error(
      fmt::format("{}: tensor token_embd.weight is missing: the file has no model's weights", file_.path()));
}

// In config.json's names.
std::string GgufConfigReader::matrix_type() const {
  const GgufTensor* matrix = nullptr;
  for (const char* name : {"blk.0.ffn_down.weight", "blk.0.ffn_down_exps.weight", "token_embd.weight"}) {
    if (matrix == nullptr) matrix = file_.find(name);
  }
  if (matrix == nullptr) return "float32";
  return matrix->type == GgufType::f32 || matrix->type == GgufType::f64 ? "float32"
         : matrix->type == GgufType::f16                                ? "float16"
                                                                        : "bfloat16";
}

void GgufConfigReader::refuse_foreign() const {
  for (const std::string_view name : kForeignKeys) {
    const std::string full = key(name);
    if (!keys_.contains(full)) continue;
    if (!keys_.is_array(full) && keys_.get_number(full) == 0.0) continue;
    keys_.fail(full, "is set, which the models here do not have");
  }
  const std::string modules = key("nextn_predict_layers");
  if (keys_.get_int_or(modules, 0) != 0 && (architecture_ != "deepseek2" || is_softmax()))
    keys_.fail(modules, "is set: of the models here, those with DeepSeek-V3's router alone have such layers");
  const bool has_experts = architecture_ == "deepseek2" || architecture_ == "qwen3moe";
  if (!has_experts && keys_.get_int_or(key("expert_count"), 0) != 0)
    keys_.fail(key("expert_count"), "is not 0: of the models with experts, qwen3moe and deepseek2 are known");
}

int64_t GgufConfigReader::prediction_layers() const {
  const int64_t layers = whole_or("nextn_predict_layers", 0, 0);
  if (layers > 0 && layers >= whole("block_count"))
    keys_.fail(key("nextn_predict_layers"),
               fmt::format("is {}; it must be less than block_count, {}", layers, whole("block_count")));
  return layers;
}

void GgufConfigReader::read_token(Json& json, const char* field, std::string_view name) const {
  const int64_t id = keys_.get_int_or(name, -1);
  json.set(field, id < 0 || id > 0x7FFFFFFF ? Json() : Json(id));
}

void GgufConfigReader::read_common(Json& json) const {
  json.set("vocab_size", vocabulary());
  json.set("hidden_size", whole("embedding_length"));
  json.set("intermediate_size", whole("feed_forward_length"));
  json.set("num_hidden_layers", whole("block_count", 1, int64_t{1} << 20) - prediction_layers());
  json.set("num_attention_heads", whole("attention.head_count"));
  json.set("max_position_embeddings", whole("context_length"));
  json.set("rms_norm_eps", number_or("attention.layer_norm_rms_epsilon", 1e-5));
  json.set("tie_word_embeddings", !has_tensor("output.weight"));
  json.set("torch_dtype", matrix_type());
  read_token(json, "bos_token_id", "tokenizer.ggml.bos_token_id");
  read_token(json, "eos_token_id", "tokenizer.ggml.eos_token_id");
}

void GgufConfigReader::read_biases(Json& json) const {
  const bool inputs = has_tensor("blk.0.attn_q.bias"), output = has_tensor("blk.0.attn_output.bias");
  if (architecture_ == "qwen2") return;  // always has them
  if (inputs != output) {
    throw Error(
        fmt::format("{}: tensor blk.0.attn_{}.bias is missing: {} has all of the attention's biases or none",
                    file_.path(), inputs ? "output" : "q", architecture_));
  }
  json.set("attention_bias", inputs);
  if (architecture_ == "llama") json.set("mlp_bias", has_tensor("blk.0.ffn_gate.bias"));
}

void GgufConfigReader::read_dense(Json& json) const {
  const int64_t heads = whole("attention.head_count"), hidden = whole("embedding_length");
  json.set("num_key_value_heads", whole_or("attention.head_count_kv", heads));
  const bool given = keys_.contains(key("attention.key_length"));
  if (!given && hidden % heads != 0) {
    keys_.fail(
        key("attention.head_count"),
        fmt::format("is {}, which does not divide embedding_length, {}, and there is no attention.key_length",
                    heads, hidden));
  }
  const int64_t width = whole_or("attention.key_length", hidden / heads);
  json.set("head_dim", width);
  if (const int64_t value = whole_or("attention.value_length", width); value != width)
    keys_.fail(key("attention.value_length"),
               fmt::format("is {}, and attention.key_length is {}", value, width));
  if (const int64_t turned = whole_or("rope.dimension_count", width); turned != width) {
    keys_.fail(
        key("rope.dimension_count"),
        fmt::format("is {} of a head's {}: partial rotary embeddings are not known here", turned, width));
  }
  const int64_t context = whole("context_length");
  if (const int64_t window = whole_or("attention.sliding_window", 0, 0, INT64_MAX);
      window > 0 && window < context)
    keys_.fail(key("attention.sliding_window"),
               fmt::format("is {}: sliding windows are not known here", window));
  read_biases(json);
  if (architecture_ == "qwen3moe") read_qwen_experts(json);
}

// DeepSeek-V2's files have no expert_gating_func, or 1.
bool GgufConfigReader::is_softmax() const {
  constexpr int64_t kSoftmax = 1, kSigmoid = 2;
  const int64_t gate = whole_or("expert_gating_func", kSoftmax, 0, INT64_MAX);
  if (gate != kSoftmax && gate != kSigmoid)
    keys_.fail(key("expert_gating_func"), fmt::format("is {}: 1 (softmax) and 2 (sigmoid) are known", gate));
  return gate == kSoftmax;
}

void GgufConfigReader::read_experts(Json& json) const {
  json.set("n_routed_experts", experts());
  json.set("num_experts_per_tok", whole("expert_used_count", 1, kMaxGgufExperts));
  json.set("n_shared_experts", whole_or("expert_shared_count", 0, 0, kMaxGgufExperts));
  json.set("moe_intermediate_size", whole("expert_feed_forward_length"));
  json.set("first_k_dense_replace", whole_or("leading_dense_block_count", 0, 0));
  json.set("routed_scaling_factor", number_or("expert_weights_scale", 1.0));
  if (prediction_layers() > 0) json.set("num_nextn_predict_layers", prediction_layers());
  read_router(json);
}

void GgufConfigReader::read_router(Json& json) const {
  // Files made before the keys of groups existed are DeepSeek-V3 or R1, with 256 experts in 8 groups,
  // DeepSeek-V2, with 160 experts in 8 groups, or have one group.
  const bool softmax = is_softmax(), norm = keys_.get_bool_or(key("expert_weights_norm"), false);
  const bool v3 = !softmax && experts() == 256, v2 = softmax && experts() == 160;
  const int64_t groups = whole_or("expert_group_count", v2 || v3 ? 8 : 1, 1, kMaxGgufExperts);
  json.set("n_group", groups);
  json.set("topk_group", whole_or("expert_group_used_count", v2 ? 3 : v3 ? 4 : 1, 1, kMaxGgufExperts));
  json.set("norm_topk_prob", norm);
  if (!softmax) return;
  if (norm) {
    keys_.fail(
        key("expert_weights_norm"),
        "is true beside a softmax router (expert_gating_func): DeepSeek-V2 does not normalise its weights");
  }
  json.set("model_type", "deepseek_v2");
  json.set("topk_method", groups > 1 ? "group_limited_greedy" : "greedy");
}

// The experts' weights are normalised whatever the file says, as in llama.cpp. A layer is dense if it has the
// tensors of a dense MLP.
void GgufConfigReader::read_qwen_experts(Json& json) const {
  if (!is_softmax())
    keys_.fail(key("expert_gating_func"), "is 2 (sigmoid): the router of qwen3moe is 1 (softmax)");
  if (const double scale = number_or("expert_weights_scale", 1.0); scale != 1.0 && scale != 0.0)
    keys_.fail(key("expert_weights_scale"), fmt::format("is {}, and qwen3moe has no such factor", scale));
  for (const char* name : {"expert_shared_count", "leading_dense_block_count"}) {
    if (whole_or(name, 0, 0) != 0) keys_.fail(key(name), "is not 0, and qwen3moe has no such thing");
  }
  if (whole_or("expert_group_count", 1, 0) > 1)
    keys_.fail(key("expert_group_count"), "is above 1, and qwen3moe has no groups of experts");
  json.set("num_experts", experts());
  json.set("num_experts_per_tok", whole("expert_used_count", 1, kMaxGgufExperts));
  json.set("moe_intermediate_size", whole("expert_feed_forward_length"));
  json.set("norm_topk_prob", true);
  json.set("decoder_sparse_step", 1);
  Json dense = Json::array();
  const int64_t layers = json.get_int("num_hidden_layers");
  for (const GgufTensor& tensor : file_.tensors()) {
    const std::optional<int64_t> layer = gguf_layer_of(tensor.name, "ffn_gate.weight");
    if (layer && *layer < layers) dense.push_back(*layer);
  }
  json.set("mlp_only_layers", std::move(dense));
}

void GgufConfigReader::read_latent(Json& json) const {
  const int64_t turned = whole("rope.dimension_count");
  const bool split = keys_.contains(key("attention.key_length_mla"));
  const char* const key_name = split ? "attention.key_length_mla" : "attention.key_length";
  const int64_t width = whole(key_name);
  if (width <= turned)
    keys_.fail(key(key_name), fmt::format("is {}; it must be above rope.dimension_count, {}", width, turned));
  json.set("num_key_value_heads", whole("attention.head_count"));
  const int64_t rank = whole_or("attention.q_lora_rank", 0, 0);
  json.set("q_lora_rank", rank == 0 ? Json() : Json(rank));
  json.set("kv_lora_rank", whole("attention.kv_lora_rank"));
  json.set("qk_rope_head_dim", turned);
  json.set("qk_nope_head_dim", width - turned);
  json.set("v_head_dim", whole(split ? "attention.value_length_mla" : "attention.value_length"));
  json.set("rope_interleave", true);
  json.set("attention_bias", has_tensor("blk.0.attn_kv_a_mqa.bias"));
  read_experts(json);
}

Json GgufConfigReader::read_yarn(double factor) const {
  Json block = Json::object();
  block.set("rope_type", "yarn").set("factor", factor);
  block.set("original_max_position_embeddings",
            whole_or("rope.scaling.original_context_length", whole("context_length")));
  for (const char* name : {"beta_fast", "beta_slow"}) {
    const std::string full = fmt::format("rope.scaling.yarn_{}", name);
    if (keys_.contains(key(full))) block.set(name, number_or(full, 0.0));
  }
  for (const char* name : {"rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"}) {
    if (keys_.contains(key(name))) block.set("attn_factor", number_or(name, 1.0));
  }
  if (keys_.contains(key("rope.scaling.yarn_log_multiplier"))) {
    // A tenth of mscale_all_dim, which mscale equals in every published model.
    constexpr double kDigits = 1e6;
    const double scale =
        std::round(10.0 * kDigits * number_or("rope.scaling.yarn_log_multiplier", 0.0)) / kDigits;
    if (scale != 0.0) block.set("mscale", scale).set("mscale_all_dim", scale);
  }
  return block;
}

Json GgufConfigReader::read_rotary_factors(double theta) const {
  const GgufTensor& tensor = *file_.find("rope_freqs.weight");
  const auto fail = [&](std::string_view reason) {
    throw Error(fmt::format("{}: tensor {} {}", file_.path(tensor), tensor.name, reason));
  };
  constexpr int64_t kMostPairs = 4096;
  if (tensor.shape.size() != 1 || tensor.shape[0] < 1 || tensor.shape[0] > kMostPairs)
    fail(fmt::format("is {}; it must have one factor for each rotary pair", shape_string(tensor.shape)));
  std::vector<float> factors(static_cast<size_t>(tensor.shape[0]));
  read_as_f32(file_, tensor, factors);
  if (std::ranges::all_of(factors, [](float f) { return f == 1.0f; })) return {};
  const std::optional<RopeConfig> found = llama3_rope_of(factors, theta);
  if (!found) fail("has factors that Llama 3's scaling does not give: no other is known here");
  Json json = Json::object();
  write_rope_config(*found, json);
  return json.at("rope_scaling");
}

void GgufConfigReader::read_rope(Json& json) const {
  const double theta = number_or("rope.freq_base", 10000.0);
  json.set("rope_theta", theta);
  json.set("rope_scaling", nullptr);
  const std::string kType = key("rope.scaling.type");
  std::string_view type = keys_.get_string_or(kType, "none");
  double factor = number_or("rope.scaling.factor", 1.0);
  if (keys_.contains(key("rope.scale_linear"))) {  // of old files
    factor = number_or("rope.scale_linear", 1.0);
    type = "linear";
  }
  for (const std::string_view name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (has_tensor(name))
      throw Error(
          fmt::format("{}: tensor {} asks for longrope, which is not known here", file_.path(), name));
  }
  const bool scaled = (type == "linear" || type == "yarn") && factor != 1.0 && factor != 0.0;
  if (type != "linear" && type != "yarn" && type != "none")
    keys_.fail(kType, fmt::format("is {}: none, linear and yarn are known", shown(type)));
  if (has_tensor("rope_freqs.weight")) {
    Json block = read_rotary_factors(theta);
    if (!block.is_null() && scaled)
      keys_.fail(kType, "is set, and there is the tensor rope_freqs.weight as well");
    if (!block.is_null()) json.set("rope_scaling", std::move(block));
  }
  if (!scaled) return;
  if (type == "yarn") {
    json.set("rope_scaling", read_yarn(factor));
  } else {
    Json block = Json::object();
    block.set("rope_type", "linear").set("factor", factor);
    json.set("rope_scaling", std::move(block));
  }
}

Json GgufConfigReader::read() {
  architecture_ = keys_.get_string("general.architecture");
  const auto* const row = std::ranges::find(kGgufArchitectures, architecture_, &ArchitectureRow::name);
  if (row == kGgufArchitectures.end()) {
    std::vector<std::string_view> known;
    for (const ArchitectureRow& known_row : kGgufArchitectures) known.push_back(known_row.name);
    keys_.fail("general.architecture",
               fmt::format("is {}: {} are known", shown(architecture_), fmt::join(known, ", ")));
  }
  refuse_foreign();
  Json json = Json::object();
  json.set("model_type", row->model_type);
  read_common(json);
  read_rope(json);
  if (architecture_ == "deepseek2") {
    read_latent(json);
  } else {
    read_dense(json);
  }
  return json;
}

}  // namespace

Json gguf_config_json(const GgufFile& file) {
  return GgufConfigReader(file).read();
}

bool is_gguf(const std::filesystem::path& model) {
  std::error_code none;
  return model.extension() == ".gguf" && std::filesystem::is_regular_file(model, none);
}

bool has_quantised_matrices(const GgufFile& file) {
  return std::ranges::any_of(file.tensors(), [](const GgufTensor& tensor) {
    const std::optional<Format> format = format_of(tensor.type);
    return tensor.shape.size() >= 2 && format && is_blocks(*format);
  });
}

ModelConfig load_model_config(const std::filesystem::path& model) {
  if (is_gguf(model)) return read_model_config(GgufFile(model));
  return read_model_config(read_json(model / "config.json"));
}

ModelConfig read_model_config(const GgufFile& file) {
  // Parsed again, so that what is wrong between two fields is said with the file's name.
  return read_model_config(parse_json(gguf_config_json(file).dump(), file.path()));
}

}  // namespace r1
