// model/noise_model.cc: Model::of_noise: a model of any shape without a file, to measure its speed.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "formats/gguf_blocks.h"
#include "model/model.h"
#include "model/uniform_source.h"

namespace r1 {
namespace {

// Endless bytes: a table of random numbers in the format, again and again. The table's length shares no factor
// with the sizes of matrices, so that rows differ.
class NoiseBytes final : public StoredBytes {
 public:
  explicit NoiseBytes(Format format) {
    constexpr size_t kNumbers = 65521, kBlocks = 509;
    Random random(1);
    std::vector<float> values(is_blocks(format) ? kBlocks * static_cast<size_t>(row_of(format).elements)
                                                : kNumbers);
    for (float& value : values) value = static_cast<float>(random.normal() * 0.02);
    if (is_blocks(format)) {
      add_blocks(format, random, values);
      return;
    }
    for (const float value : values) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      if (format == Format::bf16) {
        append(static_cast<uint16_t>(bits >> 16));
      } else if (format == Format::f16) {
        append(f16_from_f32(value));
      } else if (format == Format::f8_e4m3) {
        // The sign and the mantissa of the number, with an exponent of 2^-1: scales have the deviation.
        append(static_cast<uint8_t>((bits >> 24 & 0x80) | 0x30 | (bits >> 20 & 7)));
      } else {
        R1_CHECK(format == Format::f32, "noise in ", name_of(format));
        append(bits);
      }
    }
  }
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    size_t at = begin % table_.size();
    while (!to.empty()) {
      const size_t n = std::min(to.size(), table_.size() - at);
      std::memcpy(to.data(), table_.data() + at, n);
      to = to.subspan(n);
      at = 0;
    }
  }

 private:
  // Blocks of the values, or, of a format that is read alone, random blocks. Those formats (IQ2 and IQ3) have one
  // scale per block, which comes first, in f16.
  void add_blocks(Format format, Random& random, std::span<const float> values) {
    const auto bytes = static_cast<size_t>(row_of(format).bytes);
    table_.resize(values.size() / static_cast<size_t>(row_of(format).elements) * bytes);
    for (size_t i = 0; i < kGgufTypes; ++i) {
      const auto type = static_cast<GgufType>(i);
      if (can_quantize(type) && format_of(type) == format) return quantize(type, values, table_);
    }
    for (std::byte& b : table_) b = static_cast<std::byte>(random.below(256));
    const uint16_t scale = f16_from_f32(0.01f);
    for (size_t at = 0; at < table_.size(); at += bytes)
      std::memcpy(table_.data() + at, &scale, sizeof scale);
  }

  template <class T>
  void append(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    table_.insert(table_.end(), bytes, bytes + sizeof value);
  }
  std::string path_ = "noise";
  std::vector<std::byte> table_;
};

}  // namespace

Model Model::of_noise(const ModelConfig& config, DType matrices, const WeightFormats* formats,
                      Memory& memory) {
  std::map<Format, std::shared_ptr<const NoiseBytes>> tables;
  const UniformSource source(formats == nullptr ? uniform_formats(matrices) : *formats, [&](Format format) {
    auto& table = tables[format];
    if (!table) table = std::make_shared<const NoiseBytes>(format);
    return table;
  });
  return build(config, matrices, &source, WeightUse::inference, memory);
}

}  // namespace r1
