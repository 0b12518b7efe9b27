// model/gguf_weights.h: the weights of a GGUF file as a source of a checkpoint's tensors.
//
// Tensors are handed out under the checkpoint's names in the file's own format, blocks included: reading puts
// llama's rows back and cuts experts out of their stack (model/gguf_names.h). Only a kv_b_proj that the file
// has in two parts is joined and dequantised, to f32; the head of it that was read last is all that stays in
// memory.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_file.h"
#include "formats/weight_source.h"
#include "model/config.h"

namespace r1 {

class GgufWeights final : public WeightSource {
 public:
  // `config` is the file's own (read_model_config). Throws Error for a tensor of no known part of a model.
  GgufWeights(GgufFile file, const ModelConfig& config);

  const std::vector<std::string>& names() const override { return names_; }
  void alias(std::string_view name, std::string_view other) override;
  void check(const std::string& name, const Shape& expected, const FieldOf& field) const override;
  Stored take(const std::string& name, const Shape& expected) const override;
  std::vector<std::string> unread() const override;
  std::string file_of(std::string_view name) const override;

 private:
  const std::string& real_name(const std::string& name) const;  // throws Error if there is no such tensor

  GgufFile file_;
  ModelConfig config_;
  std::vector<std::string> names_;                        // sorted
  std::map<std::string, std::string, std::less<>> real_;  // by name, aliases included
  std::unique_ptr<std::atomic<bool>[]> read_;             // by place in names_
};

}  // namespace r1
