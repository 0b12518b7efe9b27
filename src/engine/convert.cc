#include "engine/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "engine/convert_parts.h"
#include "engine/generation_config.h"
#include "engine/gguf_sampling.h"
#include "formats/gguf_file.h"
#include "formats/shown.h"
#include "model/gguf_config.h"
#include "model/gguf_keys.h"
#include "model/open_weights.h"
#include "model/prediction.h"
#include "text/gguf_tokenizer_write.h"

namespace r1 {
namespace fs = std::filesystem;
namespace {

// The version of the blocks' layout, which a file with blocks states. It has been 2 since 2023.
constexpr uint32_t kQuantizationVersion = 2;
constexpr std::string_view kFileType = "general.file_type", kVersion = "general.quantization_version";

// Keys that are about the input's bytes, not about the model.
bool is_about_the_file(std::string_view key) {
  return key == "general.alignment" || key == kFileType || key == kVersion || key.starts_with("split.");
}

void set_file_type(const std::vector<GgufOutput>& tensors, const std::vector<PlannedTensor>& plan,
                   const QuantizePreset* preset, GgufKeys& keys) {
  std::optional<GgufType> common;
  bool blocks = false;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (tensors[i].is_matrix && !common) common = plan[i].type;
    blocks = blocks || row_of(plan[i].type).block > 1;
  }
  if (keys.contains(kFileType)) return;  // of a file whose types are kept
  keys.set(kFileType, preset != nullptr ? preset->file_type : gguf_file_type(common.value_or(GgufType::f32)));
  if (blocks) keys.set(kVersion, kQuantizationVersion);
}

std::vector<PlannedTensor> plan_of(const GgufRequest& request, const std::vector<GgufOutput>& tensors,
                                   MixtureFacts facts) {
  std::vector<PlannedTensor> plan;
  if (request.preset == nullptr) {
    for (const GgufOutput& tensor : tensors) plan.push_back({tensor.stored, ""});
    return plan;
  }
  facts.has_importance = request.importance != nullptr;
  QuantizePlanOptions options;
  options.preset = request.preset;
  options.rules = request.rules;
  options.pure = request.pure;
  plan = plan_quantization(tensors, facts, options);
  for (const PlannedTensor& tensor : plan) {
    if (!tensor.note.empty()) request.note(tensor.note);
  }
  return plan;
}

QuantizeTally write_planned(ThreadPool& threads, const GgufRequest& request, GgufKeys keys,
                            const std::vector<GgufOutput>& tensors, const MixtureFacts& facts) {
  if (request.importance != nullptr) request.importance->check(tensors);
  const std::vector<PlannedTensor> plan = plan_of(request, tensors, facts);
  set_file_type(tensors, plan, request.preset, keys);
  size_t done = 0;
  return write_quantized(threads, request.out, keys, tensors, plan, request.importance,
                         [&](const GgufOutput&, GgufType) { request.progress(++done, tensors.size()); });
}

QuantizeTally from_gguf(ThreadPool& threads, const GgufRequest& request) {
  const GgufFile file(request.in);
  if (request.keep_mtp)
    throw Error(fmt::format("{}: a GGUF file's MTP head is kept anyway: leave out --keep-mtp", file.path()));
  GgufKeys keys;
  for (const std::string_view key : file.metadata().keys()) {
    const bool kept = request.preset == nullptr && (key == kFileType || key == kVersion);
    if ((is_about_the_file(key) && !kept) || (!request.tokenizer && key.starts_with("tokenizer."))) continue;
    keys.copy(file.metadata(), key);
  }
  const std::vector<GgufOutput> tensors = gguf_outputs(file);
  const auto quantised = std::ranges::find_if(
      tensors, [](const GgufOutput& tensor) { return tensor.is_matrix && row_of(tensor.stored).block > 1; });
  if (request.preset != nullptr && row_of(request.preset->type).block > 1 && quantised != tensors.end()) {
    request.note(
        fmt::format("{}: is quantised already ({} is {}): the errors of both add up, so quantise the file "
                    "that it was made of if you "
                    "have it",
                    request.in.string(), shown(quantised->name), name_of(quantised->stored)));
  }
  return write_planned(threads, request, std::move(keys), tensors, mixture_facts(file.metadata()));
}

std::vector<int32_t> stops_of(const fs::path& directory, const ModelConfig& config) {
  std::vector<int32_t> stops = load_generation_config(directory, config.vocab_size).eos_token_ids;
  for (const int32_t id : config.eos_token_ids) {
    if (std::ranges::find(stops, id) == stops.end()) stops.push_back(id);
  }
  return stops;
}

QuantizeTally from_directory(ThreadPool& threads, const GgufRequest& request) {
  const std::string source = (request.in / "config.json").string();
  ModelConfig config = load_model_config(request.in);
  const std::unique_ptr<WeightSource> weights = open_weights(request.in, config);
  if (request.keep_mtp) {
    take_prediction_layers(config, *weights, Predictions::all, source);
    if (config.prediction_layers == 0)
      throw Error(fmt::format("{}: has no MTP head: leave out --keep-mtp", request.in.string()));
  }
  GgufKeys keys = gguf_keys(config, source);
  if (request.tokenizer) {
    if (!fs::exists(request.in / "tokenizer.json")) {
      throw Error(fmt::format("{}: has no tokenizer.json: give --no-tokenizer to write the weights alone",
                              request.in.string()));
    }
    const std::vector<int32_t> stops = stops_of(request.in, config);
    const GgufTokenizerInput input{request.in, config.vocab_size, stops,
                                   static_cast<int32_t>(config.bos_token_id)};
    for (const std::string& line : write_gguf_tokenizer(input, keys)) request.note(line);
  } else {
    const auto set_id = [&keys](const char* key, int64_t id) {
      if (id >= 0) keys.set(key, static_cast<uint32_t>(id));
    };
    set_id("tokenizer.ggml.bos_token_id", config.bos_token_id);
    if (!config.eos_token_ids.empty()) set_id("tokenizer.ggml.eos_token_id", config.eos_token_ids.front());
  }
  for (const std::string& line : write_gguf_sampling(request.in, config.vocab_size, keys)) request.note(line);
  const std::vector<GgufOutput> tensors = gguf_outputs(config, *weights);
  note_left_out(*weights, config, request.note);
  return write_planned(threads, request, std::move(keys), tensors, mixture_facts(config));
}

}  // namespace

void note_left_out(const WeightSource& weights, const ModelConfig& config,
                   const std::function<void(const std::string&)>& note) {
  constexpr size_t kShown = 3;
  std::vector<std::string> names;
  size_t count = 0;
  const std::string module = fmt::format("model.layers.{}.eh_proj.weight", config.layers);
  bool has_head = false;
  for (const std::string& name : weights.unread()) {
    if (name.ends_with(".rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight"))
      continue;
    if (config.declared_prediction_layers > 0 && layer_of(name) >= config.layers) {
      has_head = true;
      continue;
    }
    if (++count <= kShown) names.push_back(shown(name));
  }
  if (has_head) {
    note(fmt::format(
        "{}: layer {}, the MTP head, is left out, because llama.cpp reads no deepseek2 file that has "
        "it; --keep-mtp keeps it for r1",
        weights.file_of(module), config.layers));
  }
  if (count == 0) return;
  note(fmt::format("{}: {} of its tensors have no part in the forward of a {} and are left out: {}{}",
                   weights.file_of(names.front()), count, name_of(config.family), fmt::join(names, ", "),
                   count > kShown ? ", ..." : ""));
}

QuantizeTally write_gguf_model(ThreadPool& threads, const GgufRequest& request) {
  return is_gguf(request.in) ? from_gguf(threads, request) : from_directory(threads, request);
}

}  // namespace r1
