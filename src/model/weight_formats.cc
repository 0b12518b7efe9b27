#include "model/weight_formats.h"

#include <algorithm>
#include <utility>

#include "model/model.h"
#include "model/open_weights.h"
#include "model/quantize.h"
#include "model/uniform_source.h"
#include "tensor/memory.h"

namespace r1 {
namespace {

// The bytes of a model that nobody reads.
class UnreadBytes final : public StoredBytes {
 public:
  const std::string& path() const override { return path_; }
  void read(uint64_t, std::span<std::byte>, std::string_view tensor) const override {
    R1_CHECK(false, tensor, " of a model without values is read");
  }

 private:
  std::string path_ = "a model without values";
};

WeightFormats formats_in(const WeightSource& source, const ModelConfig& config) {
  NoMemory nothing;
  const Model shapes = Model::shape_only(config, DType::bf16, nothing, WeightUse::inference);
  WeightFormats out;
  std::map<Format, int64_t> counts;
  for (const Parameter& p : shapes.parameters()) {
    if (p.value.shape.rank() != 2) continue;
    const Format format = source.take(p.name, p.value.shape).format;
    out.by_name.emplace(p.name, format);
    ++counts[format];
  }
  const auto most = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  if (most != counts.end()) out.rest = most->first;
  return out;
}

}  // namespace

Format WeightFormats::of(std::string_view name) const {
  const auto found = by_name.find(name);
  return found == by_name.end() ? rest : found->second;
}

bool WeightFormats::has_blocks() const {
  return is_blocks(rest) ||
         std::ranges::any_of(by_name, [](const auto& entry) { return is_blocks(entry.second); });
}

WeightFormats uniform_formats(DType dtype) {
  return {.by_name = {}, .rest = dtype == DType::bf16 ? Format::bf16 : Format::f32};
}

WeightFormats stored_formats(const std::filesystem::path& model, const ModelConfig& config) {
  return formats_in(*open_weights(model, config), config);
}

WeightFormats quantised_formats(const ModelConfig& config, const QuantizePreset& preset) {
  auto unread = std::make_shared<UnreadBytes>();
  auto whole =
      std::make_unique<UniformSource>(uniform_formats(DType::bf16), [unread](Format) { return unread; });
  return formats_in(*quantized_source(std::move(whole), config, preset), config);
}

WeightFormats read_formats(WeightFormats formats, Numerics numerics) {
  const Product product = row_of(numerics).product;
  if (product == Product::q8act || product == Product::tensor_bf16) return formats;
  if (activation_dtype(numerics) == DType::bf16) return uniform_formats(DType::bf16);
  const auto dequantise = [](Format& format) {
    if (format != Format::bf16 && format != Format::f16) format = Format::f32;
  };
  dequantise(formats.rest);
  for (auto& [name, format] : formats.by_name) dequantise(format);
  return formats;
}

}  // namespace r1
