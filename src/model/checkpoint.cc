// model/checkpoint.cc: weights from and to a Hugging Face directory.
#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/threads.h"
#include "formats/hf_directory.h"
#include "model/model.h"

namespace r1 {
namespace {

// What may lie in a checkpoint unread: tables that are computed, a tied head's copy, and
// multi-token-prediction layers behind the last (they play no part in the log-probs).
bool may_be_ignored(const std::string& name, const ModelConfig& config) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  if (config.tie_word_embeddings && name == "lm_head.weight") return true;
  constexpr std::string_view kLayers = "model.layers.";
  if (config.family != Family::deepseek_v3 || !name.starts_with(kLayers)) return false;
  const std::string rest = name.substr(kLayers.size());
  const size_t dot = rest.find('.');
  if (dot == std::string::npos || dot == 0 || dot > 6 || rest.find_first_not_of("0123456789") != dot)
    return false;
  return std::stoll(rest.substr(0, dot)) >= config.layers;
}

StoredType stored(DType dtype) {
  return dtype == DType::bf16 ? StoredType::bf16 : dtype == DType::f16 ? StoredType::f16 : StoredType::f32;
}

// A tensor a thread at a time; of several Errors the first in the model's order is thrown.
void read_parameters(const HfWeights& weights, std::deque<Parameter>& parameters) {
  std::vector<std::exception_ptr> errors(parameters.size());
  ThreadPool threads(std::min(available_threads(), 8));
  threads.parallel_for(std::ssize(parameters), 1, [&](int64_t begin, int64_t end) {
    for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Parameter& p = parameters[i];
      try {
        if (p.value.dtype == DType::f32) {
          weights.read(p.name, p.value.shape, p.value.values());
        } else {
          weights.read(p.name, p.value.shape, {p.value.bf16(), static_cast<size_t>(p.value.count())});
        }
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace

Model Model::load(const std::filesystem::path& directory, DType matrices) {
  std::error_code ec;
  if (!std::filesystem::is_directory(directory, ec)) {
    throw Error(directory.string() +
                ": no such directory: a model is a Hugging Face directory with config.json");
  }
  const ModelConfig config = read_model_config(read_json(directory / "config.json"));
  const HfWeights weights(directory);
  Model model = build(config, matrices);
  read_parameters(weights, *model.parameters_);
  for (const std::string& name : weights.unread()) {
    if (may_be_ignored(name, config)) continue;
    throw Error(weights.file_of(name) + ": tensor " + name + " has no place in a " +
                std::string(name_of(config.family)) +
                " of this config.json: the file and the config are from different models");
  }
  return model;
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
    in_f32(p.value, [&](std::span<const float> values) { out.write(p.name, values); });
  }
  out.close();
}

}  // namespace r1
