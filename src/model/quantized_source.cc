// Quantises while a model is loaded (quantized_source of model/quantize.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "model/gguf_names.h"
#include "model/quantize.h"

namespace r1 {
namespace {

// Numbers -> blocks -> numbers, row by row, in place.
void round_rows(GgufType type, int64_t width, std::span<float> values) {
  const GgufTypeRow& row = row_of(type);
  std::vector<std::byte> bytes(static_cast<size_t>(width / row.block * row.bytes));
  for (size_t at = 0; at < values.size(); at += static_cast<size_t>(width)) {
    const std::span<float> one = values.subspan(at, static_cast<size_t>(width));
    quantize(type, one, bytes);
    dequantize(type, bytes, one);
  }
}

void read_finite_values(const Stored& stored, int64_t first, std::span<float> out) {
  stored.read(first, out);
  check_finite(stored, first, std::span<const float>(out));
}

// A matrix whose rows are quantised as they are read. Any thread may read.
class QuantizedRows final : public StoredBytes {
 public:
  QuantizedRows(Stored stored, GgufType type) : stored_(std::move(stored)), type_(type) {}
  const std::string& path() const override { return stored_.owner->path(); }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    const int64_t width = stored_.shape[1];
    const auto row_bytes = static_cast<uint64_t>(bytes_of(*format_of(type_), width));
    std::vector<float> row(static_cast<size_t>(width));
    std::vector<std::byte> blocks(row_bytes);
    for (size_t at = 0; at < to.size();) {
      const uint64_t number = (begin + at) / row_bytes, within = (begin + at) % row_bytes;
      const size_t count = std::min(static_cast<size_t>(row_bytes - within), to.size() - at);
      read_finite_values(stored_, static_cast<int64_t>(number) * width, row);
      quantize(type_, row, blocks);
      std::memcpy(to.data() + at, blocks.data() + within, count);
      at += count;
    }
  }

 private:
  Stored stored_;
  GgufType type_;
};

// kv_b_proj [H (nope + V), R]: a head's first nope rows are quantised as the columns that a GGUF file has as
// rows.
class QuantizedHeads final : public StoredBytes {
 public:
  QuantizedHeads(Stored stored, const ModelConfig& config, GgufType keys, GgufType values)
      : stored_(std::move(stored)),
        nope_(config.qk_nope_head_dim),
        value_(config.v_head_dim),
        rank_(config.kv_lora_rank),
        keys_(keys),
        values_(values) {}
  const std::string& path() const override { return stored_.owner->path(); }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    const std::scoped_lock lock(mutex_);
    const int64_t head_size = (nope_ + value_) * rank_;
    const auto first = static_cast<int64_t>(begin / sizeof(float));
    const auto end = first + static_cast<int64_t>(to.size() / sizeof(float));
    for (int64_t at = first; at < end;) {
      fill(at / head_size);
      const int64_t within = at % head_size, count = std::min(head_size - within, end - at);
      std::memcpy(to.data() + static_cast<size_t>(at - first) * sizeof(float), head_.data() + within,
                  static_cast<size_t>(count) * sizeof(float));
      at += count;
    }
  }

 private:
  void fill(int64_t number) const {
    if (number_ == number) return;
    number_ = -1;
    head_.resize(static_cast<size_t>((nope_ + value_) * rank_));
    read_finite_values(stored_, number * std::ssize(head_), head_);
    std::vector<float> turned(static_cast<size_t>(rank_ * nope_));
    for (int64_t n = 0; n < nope_; ++n)
      for (int64_t r = 0; r < rank_; ++r)
        turned[static_cast<size_t>(r * nope_ + n)] = head_[static_cast<size_t>(n * rank_ + r)];
    round_rows(keys_, nope_, turned);
    for (int64_t n = 0; n < nope_; ++n)
      for (int64_t r = 0; r < rank_; ++r)
        head_[static_cast<size_t>(n * rank_ + r)] = turned[static_cast<size_t>(r * nope_ + n)];
    round_rows(values_, rank_, std::span(head_).subspan(static_cast<size_t>(nope_ * rank_)));
    number_ = number;
  }

  Stored stored_;
  int64_t nope_, value_, rank_;
  GgufType keys_, values_;
  mutable std::mutex mutex_;
  mutable int64_t number_ = -1;  // of the head in head_
  mutable std::vector<float> head_;
};

class QuantizedSource final : public WeightSource {
 public:
  QuantizedSource(std::unique_ptr<WeightSource> inner, const ModelConfig& config,
                  const QuantizePreset& preset)
      : inner_(std::move(inner)), config_(config) {
    QuantizePlanOptions options;
    options.preset = &preset;
    const std::vector<GgufOutput> outputs = gguf_outputs(config_, *inner_);
    const std::vector<PlannedTensor> plan = plan_quantization(outputs, mixture_facts(config_), options);
    for (size_t i = 0; i < plan.size(); ++i) {
      if (outputs[i].is_matrix) types_.emplace(outputs[i].name, plan[i].type);
    }
  }
  const std::vector<std::string>& names() const override { return inner_->names(); }
  void alias(std::string_view name, std::string_view other) override { inner_->alias(name, other); }
  void check(const std::string& name, const Shape& expected, const FieldOf& field) const override {
    inner_->check(name, expected, field);
  }
  std::vector<std::string> unread() const override { return inner_->unread(); }
  std::string file_of(std::string_view name) const override { return inner_->file_of(name); }

  Stored take(const std::string& name, const Shape& expected) const override {
    Stored stored = inner_->take(name, expected);
    const std::optional<GgufPlace> place = gguf_place(config_, name);
    if (!place || expected.rank() != 2) return stored;
    Stored out = stored;
    out.format = Format::f32;
    out.begin = 0;
    out.scales = nullptr;
    if (place->is_latent) {
      const LatentNames names = latent_names(place->tensor);
      out.owner = std::make_shared<const QuantizedHeads>(std::move(stored), config_, types_.at(names.keys),
                                                         types_.at(names.values));
      return out;
    }
    const auto type = types_.find(place->tensor);
    if (type == types_.end()) return stored;  // the router
    out.format = *format_of(type->second);
    out.owner = std::make_shared<const QuantizedRows>(std::move(stored), type->second);
    return out;
  }

 private:
  std::unique_ptr<WeightSource> inner_;
  ModelConfig config_;
  std::map<std::string, GgufType> types_;  // by the file's name of a matrix
};

}  // namespace

std::unique_ptr<WeightSource> quantized_source(std::unique_ptr<WeightSource> inner, const ModelConfig& config,
                                               const QuantizePreset& preset) {
  return std::make_unique<QuantizedSource>(std::move(inner), config, preset);
}

}  // namespace r1
