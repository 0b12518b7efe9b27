// formats/hf_directory.h: the weights of a Hugging Face checkpoint directory.
//
// The directory has either model.safetensors, or model.safetensors.index.json ({"weight_map": {tensor:
// shard}}) and its shards. If both are there, the single file wins, as in transformers. All files are opened
// and their headers checked at once; no tensor is read yet. FP8 weights have a second tensor with their
// scales (formats/fp8_scales.h), which belongs to them.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"
#include "formats/weight_source.h"

namespace r1 {

class HfWeights final : public WeightSource {
 public:
  // Throws Error for a missing file or shard, for a shard that is not a plain file name in the directory, and
  // for a tensor that two shards hold with different values. A tensor that the index lists and its shard
  // lacks is an error only when it is asked for.
  explicit HfWeights(const std::filesystem::path& directory);

  const std::vector<std::string>& names() const override { return names_; }
  const TensorInfo* find(std::string_view name) const;  // type and shape; nullptr: no such tensor
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  void alias(std::string_view name, std::string_view other) override;
  void check(const std::string& name, const Shape& expected, const FieldOf& field) const override;
  Stored take(const std::string& name, const Shape& expected) const override;
  std::vector<std::string> unread() const override;
  std::string file_of(std::string_view name) const override;

 private:
  struct Entry {
    const SafetensorsFile* file = nullptr;
    const TensorInfo* info = nullptr;
  };
  void open_single(const std::filesystem::path& file);
  void open_sharded(const std::filesystem::path& index);
  const Entry& find_entry(const std::string& name) const;
  const Entry& entry(const std::string& name) const;  // also marks it as read
  const Entry& entry(const std::string& name, const Shape& expected, std::string_view why) const;

  std::string directory_;
  std::string listing_;  // the file or index that lists the tensors, for messages
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string_view, size_t>
      by_name_;  // into names_ and entries_; keys are the files' strings
  std::vector<Entry> entries_;
  std::unique_ptr<std::atomic<bool>[]> read_;
  std::unordered_map<std::string, std::string>
      promised_;  // by tensor: the shard where the index has it and no shard does
};

}  // namespace r1
