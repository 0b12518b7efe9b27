// Writes a model as a Hugging Face directory (write_model_directory of convert.h).
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "engine/convert.h"
#include "engine/convert_parts.h"
#include "engine/model_bundle.h"
#include "formats/gguf_file.h"
#include "formats/safetensors.h"
#include "formats/shown.h"
#include "model/gguf_config.h"
#include "model/model.h"
#include "model/open_weights.h"
#include "model/prediction.h"
#include "tensor/memory.h"
#include "text/gguf_tokenizer.h"

namespace r1 {
namespace fs = std::filesystem;
namespace {

constexpr size_t kValuesAtATime = size_t{1} << 20;

StoredType stored_type(DType dtype) {
  return dtype == DType::bf16 ? StoredType::bf16 : dtype == DType::f16 ? StoredType::f16 : StoredType::f32;
}

std::string torch_name(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
}

float rounded_to(DType dtype, float value) {
  if (dtype == DType::bf16) return f32_from_bf16(bf16_from_f32(value));
  return dtype == DType::f16 ? f32_from_f16(f16_from_f32(value)) : value;
}

struct Planned {
  Stored stored;
  StoredType type;
};

class DirectoryWriter {
 public:
  DirectoryWriter(const DirectoryRequest& request)
      : request_(request),
        gguf_(is_gguf(request.in)),
        config_(load_model_config(request.in)),
        weights_(open_weights(request.in, config_)) {
    config_.dtype = request.dtype.value_or(config_.dtype);
    take_prediction_layers(config_, *weights_, Predictions::all, request.in.string());
  }

  DirectoryTally write() {
    plan();
    note_left_out(*weights_, config_, request_.note);
    tally_.dtype = config_.dtype;
    write_directory_atomically(request_.out, [&](const fs::path& folder) {
      write_config(folder);
      if (gguf_) {
        write_files_of_gguf(folder);
      } else {
        copy_files(folder);
      }
      write_weights(folder);
    });
    return tally_;
  }

 private:
  void plan() {
    NoMemory nothing;
    const Model shapes = Model::shape_only(config_, DType::f32, nothing, WeightUse::training);
    for (const Parameter& p : shapes.parameters()) {
      weights_->check(p.name, p.value.shape, [this](int64_t size) { return fields_of_size(config_, size); });
      Stored stored = weights_->take(p.name, p.value.shape);
      stored.name = p.name;
      const StoredType type = type_of(p, stored);
      planned_.push_back({std::move(stored), type});
    }
  }

  StoredType type_of(const Parameter& p, const Stored& stored) const {
    if (p.value.shape.rank() >= 2) return stored_type(config_.dtype);
    if (p.name.ends_with("e_score_correction_bias")) return StoredType::f32;
    std::vector<float> values(static_cast<size_t>(stored.count()));
    stored.read(0, values);
    const bool exact =
        std::ranges::all_of(values, [&](float v) { return rounded_to(config_.dtype, v) == v; });
    return exact ? stored_type(config_.dtype) : StoredType::f32;
  }

  // The file of a directory keeps its fields, and gets the new type.
  void write_config(const fs::path& folder) const {
    Json json = gguf_ ? to_json(config_) : read_json(request_.in / "config.json");
    if (json.contains("dtype")) {
      json.set("dtype", torch_name(config_.dtype));
      if (json.contains("torch_dtype")) json.set("torch_dtype", torch_name(config_.dtype));
    } else {
      json.set("torch_dtype", torch_name(config_.dtype));
    }
    Json plain = Json::object();  // weights that were stored with scales are plain numbers now
    for (const auto& [name, value] : json.members()) {
      if (name != "quantization_config") plain.set(name, value);
    }
    write_file_atomically(folder / "config.json", plain.dump(2) + "\n");
  }

  void write_files_of_gguf(const fs::path& folder) const {
    const GgufFile file(request_.in);
    const GgufMetadata& metadata = file.metadata();
    if (!metadata.contains("tokenizer.ggml.model")) {
      request_.note(fmt::format("{}: has no tokenizer: the directory gets none", metadata.source()));
      return;
    }
    std::vector<int32_t> stops;
    for (const int32_t id : read_gguf_special_tokens(metadata).stops) {
      if (id < config_.vocab_size) stops.push_back(id);
    }
    for (const auto& [name, text] : gguf_model_files(metadata, stops))
      write_file_atomically(folder / name, text);
  }

  // Everything but weights: the tokenizer, templates, the model's card, its license.
  void copy_files(const fs::path& folder) const {
    static const std::set<std::string> weights = {".safetensors", ".bin", ".pt",      ".pth",
                                                  ".gguf",        ".h5",  ".msgpack", ".onnx"};
    for (const auto& entry : fs::directory_iterator(request_.in)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_directory() && name == "additional_chat_templates") {
        fs::create_directory(folder / name);
        for (const auto& inner : fs::directory_iterator(entry.path()))
          write_file_atomically(folder / name / inner.path().filename(), read_file(inner.path()));
        continue;
      }
      const bool index = name.ends_with(".index.json");
      if (!entry.is_regular_file() || name == "config.json" || index || name.starts_with('.')) continue;
      if (weights.contains(entry.path().extension().string())) continue;
      write_file_atomically(folder / name, read_file(entry.path()));
    }
  }

  void write_weights(const fs::path& folder) {
    std::vector<SafetensorsWriter::Declared> declared;
    for (const Planned& tensor : planned_) {
      SafetensorsWriter::Declared one{.name = tensor.stored.name, .type = tensor.type, .shape = {}};
      for (int d = 0; d < tensor.stored.shape.rank(); ++d) one.shape.push_back(tensor.stored.shape[d]);
      tally_.weights += tensor.stored.count();
      tally_.bytes += static_cast<uint64_t>(tensor.stored.count() * bits_of(tensor.type) / 8);
      declared.push_back(std::move(one));
    }
    tally_.tensors = std::ssize(planned_);
    SafetensorsWriter out(folder / "model.safetensors", std::move(declared));
    std::vector<float> piece;
    size_t done = 0;
    for (const Planned& tensor : planned_) {
      const Stored& stored = tensor.stored;
      for (int64_t at = 0; at < stored.count(); at += std::ssize(piece)) {
        piece.resize(std::min(kValuesAtATime, static_cast<size_t>(stored.count() - at)));
        stored.read(at, piece);
        check_finite(stored, at, std::span<const float>(piece));
        out.write(stored.name, piece);
      }
      request_.progress(++done, planned_.size());
    }
    out.close();
  }

  const DirectoryRequest& request_;
  bool gguf_;
  ModelConfig config_;
  std::unique_ptr<WeightSource> weights_;
  std::vector<Planned> planned_;
  DirectoryTally tally_;
};

}  // namespace

DirectoryTally write_model_directory(const DirectoryRequest& request) {
  return DirectoryWriter(request).write();
}

}  // namespace r1
