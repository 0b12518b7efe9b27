#include "model/gguf_weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/safetensors.h"
#include "formats/shown.h"
#include "model/gguf_names.h"

namespace r1 {
namespace {

std::vector<int64_t> dims_of(const Shape& shape) {
  std::vector<int64_t> dims;
  for (int d = 0; d < shape.rank(); ++d) dims.push_back(shape[d]);
  return dims;
}

class GgufBytes final : public StoredBytes {
 public:
  explicit GgufBytes(GgufTensorReader reader) : reader_(std::move(reader)) {}
  const std::string& path() const override { return reader_.path(); }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    reader_.read_bytes(begin, to);
  }

 private:
  GgufTensorReader reader_;
};

}  // namespace

GgufWeights::GgufWeights(GgufFile file, const ModelConfig& config)
    : file_(std::move(file)), config_(config), names_(gguf_checkpoint_names(file_, config_)) {
  for (const std::string& name : names_) real_.emplace(name, name);
  read_ = std::make_unique<std::atomic<bool>[]>(names_.size());
}

void GgufWeights::alias(std::string_view name, std::string_view other) {
  if (const auto found = real_.find(other); found != real_.end())
    real_.emplace(std::string(name), std::string(found->second));
}

const std::string& GgufWeights::real_name(const std::string& name) const {
  const auto found = real_.find(name);
  if (found != real_.end()) return found->second;
  const std::optional<GgufPlace> place = gguf_place(config_, name);
  throw Error(fmt::format("{}: tensor {} is missing", file_.path(),
                          place ? fmt::format("{} ({})", place->tensor, name) : name));
}

void GgufWeights::check(const std::string& name, const Shape& expected, const FieldOf&) const {
  GgufTensorReader(file_, config_, real_name(name), dims_of(expected));
}

Stored GgufWeights::take(const std::string& name, const Shape& expected) const {
  const std::string& real = real_name(name);
  GgufTensorReader reader(file_, config_, real, dims_of(expected));
  const auto at = std::ranges::lower_bound(names_, real) - names_.begin();
  read_[static_cast<size_t>(at)].store(true, std::memory_order_relaxed);
  Stored out;
  out.name = name;
  out.format = reader.format();
  out.shape = expected;
  out.owner = std::make_shared<const GgufBytes>(std::move(reader));
  return out;
}

std::vector<std::string> GgufWeights::unread() const {
  std::vector<std::string> out;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (!read_[i].load(std::memory_order_relaxed)) out.push_back(names_[i]);
  }
  return out;
}

std::string GgufWeights::file_of(std::string_view name) const {
  const auto found = real_.find(name);
  const std::optional<GgufPlace> place =
      found == real_.end() ? std::nullopt : gguf_place(config_, found->second);
  const GgufTensor* tensor = place ? file_.find(place->tensor) : nullptr;
  return tensor == nullptr ? file_.path() : file_.path(*tensor);
}

}  // namespace r1
