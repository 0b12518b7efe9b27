// engine/convert.h: a whole model from one form into another: a Hugging Face directory or a GGUF file, with
// weights of another type, the tokenizer, the chat template and the sampling settings included.
//
// Tensors are converted one after the other, so a model may be larger than memory. The output appears whole
// or not at all.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/quantize.h"
#include "tensor/dtype.h"

namespace r1 {

struct GgufRequest {
  std::filesystem::path in, out;           // a directory or a .gguf file; a .gguf file
  const QuantizePreset* preset = nullptr;  // null: each matrix keeps its type
  std::vector<TensorRule> rules;
  bool pure = false;
  const ImportanceMatrix* importance = nullptr;
  bool tokenizer = true;                              // false: the weights alone
  bool keep_mtp = false;                              // the modules of multi-token prediction, of a directory
  std::function<void(const std::string& line)> note;  // what the user should know, before the work begins
  std::function<void(size_t done, size_t of)> progress;  // tensors
};
// Throws Error.
QuantizeTally write_gguf_model(ThreadPool& threads, const GgufRequest& request);

struct DirectoryRequest {
  std::filesystem::path in, out;
  std::optional<DType>
      dtype;  // of the matrices: f32, bf16 or f16; none: the input's (bf16 for quantised files)
  std::function<void(const std::string& line)> note;
  std::function<void(size_t done, size_t of)> progress;
};
struct DirectoryTally {
  int64_t tensors = 0, weights = 0;
  uint64_t bytes = 0;
  DType dtype = DType::f32;
};
// Writes config.json, model.safetensors and what stands beside them. Vectors have the matrices' type if it
// holds their values exactly; if not, and for the router's selection bias, they are f32. Throws Error.
DirectoryTally write_model_directory(const DirectoryRequest& request);

}  // namespace r1
