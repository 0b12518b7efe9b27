// model/checkpoint.cc: weights from a Hugging Face directory or a GGUF file, and to a directory.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <exception>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/threads.h"
#include "formats/hf_directory.h"
#include "formats/shown.h"
#include "model/gguf_config.h"
#include "model/gguf_weights.h"
#include "model/model.h"
#include "model/open_weights.h"
#include "model/prediction.h"
#include "model/quantize.h"

namespace r1 {
namespace {

// True for tensors of DeepSeek's layers after the last one, which predict further tokens. They play no part
// in the log-probs.
bool is_prediction_layer(const std::string& name, const ModelConfig& config) {
  return config.is_latent() && layer_of(name) >= config.layers;
}

// True for tensors that may stay unread without being listed: computed tables, a tied head's copy, and
// prediction layers.
bool may_be_ignored(const std::string& name, const ModelConfig& config) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  if (config.tie_word_embeddings && name == "lm_head.weight") return true;
  return is_prediction_layer(name, config);
}

// Checks the number of layers before single tensors, so that the error names the field and not a tensor.
void check_layers(const ModelConfig& config, const WeightSource& weights, const std::string& source) {
  int64_t layers = 0;
  for (const std::string& name : weights.names()) layers = std::max(layers, layer_of(name) + 1);
  if (config.layers > layers) {
    throw Error(
        fmt::format("{}: num_hidden_layers is {}, and the weights beside it have {} layers: the file and the "
                    "config are from different models",
                    source, config.layers, layers));
  }
}

void warn_of_unread(const ModelConfig& config, const WeightSource& weights,
                    std::vector<std::string>& warnings) {
  constexpr size_t kShown = 3;
  std::set<int64_t> extra;  // layers of multi-token prediction
  std::vector<std::string> names;
  std::string file;
  size_t count = 0;
  for (const std::string& name : weights.unread()) {
    const int64_t layer = layer_of(name);
    if (is_prediction_layer(name, config) && layer >= config.layers + config.prediction_layers)
      extra.insert(layer);
    if (may_be_ignored(name, config)) continue;
    ++count;
    if (names.size() < kShown) names.push_back(shown(name));
    if (file.empty()) file = weights.file_of(name);
  }
  if (!extra.empty()) {
    warnings.push_back(
        fmt::format("{}: layer {} predicts further tokens (num_nextn_predict_layers) and is not used: no "
                    "log-prob depends on it",
                    weights.file_of(fmt::format("model.layers.{}.eh_proj.weight", *extra.begin())),
                    fmt::join(extra, ", ")));
  }
  if (count == 0) return;
  warnings.push_back(fmt::format("{}: {} {} no place in a {} of this config.json and {} not used: {}{}", file,
                                 count == 1 ? "1 tensor" : fmt::format("{} tensors", count),
                                 count == 1 ? "has" : "have", name_of(config.family),
                                 count == 1 ? "is" : "are", fmt::join(names, ", "),
                                 count > kShown ? ", ..." : ""));
}

StoredType stored(DType dtype) {
  return dtype == DType::bf16 ? StoredType::bf16 : dtype == DType::f16 ? StoredType::f16 : StoredType::f32;
}

// Reads one tensor per thread at a time, and checks every value. Of several Errors, the first in the model's
// order is thrown. What is frozen is not read.
void read_parameters(const WeightSource& weights, Memory& memory, std::deque<Parameter>& parameters) {
  std::vector<std::exception_ptr> errors(parameters.size());
  ThreadPool threads(std::min(available_threads(), 8));
  threads.parallel_for(std::ssize(parameters), 1, [&](int64_t begin, int64_t end) {
    for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Parameter& p = parameters[i];
      if (p.frozen()) continue;
      try {
        read_finite(weights.take(p.name, p.value.shape), memory, p.value);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

// Throws Error for a file that is quantised already: its blocks are computed with as they are.
void refuse_quantized(const GgufFile& file) {
  for (const GgufTensor& tensor : file.tensors()) {
    if (row_of(tensor.type).block == 1) continue;
    throw Error(
        fmt::format("{}: tensor {} is {} already: leave out --quantize, or take the file that it was made of",
                    file.path(tensor), shown(tensor.name), name_of(tensor.type)));
  }
}

}  // namespace

std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& model, const ModelConfig& config) {
  std::unique_ptr<WeightSource> weights;
  if (is_gguf(model)) {
    weights = std::make_unique<GgufWeights>(GgufFile(model), config);
  } else {
    weights = std::make_unique<HfWeights>(model);
  }
  // If two tensors share their values, a file may hold either of them.
  if (config.tie_word_embeddings) weights->alias("model.embed_tokens.weight", "lm_head.weight");
  return weights;
}

Model Model::load(const std::filesystem::path& directory, DType matrices, WeightUse use, Memory& memory,
                  std::string_view quantize) {
  return load_with_head(directory, matrices, use, memory, quantize, false);
}

Model Model::load_value_model(const std::filesystem::path& directory, Memory& memory) {
  return load_with_head(directory, DType::f32, WeightUse::training, memory, {}, true);
}

Model Model::load_with_head(const std::filesystem::path& directory, DType matrices, WeightUse use,
                            Memory& memory, std::string_view quantize, bool value_head) {
  std::error_code ec;
  const bool gguf = is_gguf(directory);
  if (!gguf && !std::filesystem::is_directory(directory, ec)) {
    throw Error(directory.string() +
                ": no such directory: a model is a Hugging Face directory with config.json, or a GGUF file");
  }
  const std::string source = gguf ? directory.string() : (directory / "config.json").string();
  ModelConfig config = load_model_config(directory);
  if (config.value_head && !value_head) {
    throw Error(
        source +
        ": is of a value model, whose head gives one number per token: nothing can be sampled from it; r1 "
        "ppo takes it as critic.model");
  }
  if (!config.value_head && value_head) throw Error(source + ": is not of a value model");
  std::unique_ptr<WeightSource> opened = open_weights(directory, config);
  try {
    check_layers(config, *opened, source);
    if (use == WeightUse::guessing) take_prediction_layers(config, *opened, Predictions::head, source);
    if (!quantize.empty()) {
      if (gguf) refuse_quantized(GgufFile(directory));
      opened = quantized_source(std::move(opened), config, quantize_preset(quantize, "--quantize"));
    }
    const WeightSource& weights = *opened;
    Model model = build(config, matrices, &weights, use, memory);
    read_parameters(weights, memory, *model.parameters_);
    model.warnings_ = config.warnings;
    warn_of_unread(config, weights, model.warnings_);
    return model;
  } catch (const Error& e) {
    if (config.assumed.empty()) throw;
    throw Error(fmt::format("{} ({} does not say so; transformers takes {})", e.what(), source,
                            fmt::join(config.assumed, ", ")));
  }
}

void Model::save(const std::filesystem::path& directory, DType dtype) const {
  ModelConfig config = config_;
  config.dtype = dtype;
  write_file_atomically(directory / "config.json", to_json(config).dump(2) + "\n");
  std::vector<SafetensorsWriter::Declared> declared;
  for (const Parameter& p : *parameters_) {
    SafetensorsWriter::Declared tensor{.name = p.name, .type = stored(dtype), .shape = {}};
    for (int i = 0; i < p.value.shape.rank(); ++i) tensor.shape.push_back(p.value.dim(i));
    declared.push_back(std::move(tensor));
  }
  SafetensorsWriter out(directory / "model.safetensors", std::move(declared));
  for (const Parameter& p : *parameters_) {
    in_f32(*memory_, p, [&](std::span<const float> values) { out.write(p.name, values); });
  }
  out.close();
}

}  // namespace r1
