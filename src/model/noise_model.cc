// model/noise_model.cc: Model::of_noise: a model of any shape without a file, to measure its speed.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "formats/weight_source.h"
#include "model/model.h"

namespace r1 {
namespace {

// Endless bytes: a table of random numbers in the format, again and again. The table's length shares no factor
// with the sizes of matrices, so that rows differ.
class NoiseBytes final : public StoredBytes {
 public:
  explicit NoiseBytes(Format format) {
    constexpr size_t kNumbers = 65521;
    Random random(1);
    for (size_t i = 0; i < kNumbers; ++i) {
      const auto value = static_cast<float>(random.normal() * 0.02);
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      if (format == Format::bf16) {
        append(static_cast<uint16_t>(bits >> 16));
      } else {
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
  template <class T>
  void append(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    table_.insert(table_.end(), bytes, bytes + sizeof value);
  }
  std::string path_ = "noise";
  std::vector<std::byte> table_;
};

class NoiseSource final : public WeightSource {
 public:
  explicit NoiseSource(DType dtype)
      : format_(dtype == DType::bf16 ? Format::bf16 : Format::f32),
        owner_(std::make_shared<NoiseBytes>(format_)) {}
  const std::vector<std::string>& names() const override { return names_; }
  void alias(std::string_view, std::string_view) override {}
  void check(const std::string&, const Shape&, const FieldOf&) const override {}
  Stored take(const std::string& name, const Shape& shape) const override {
    Stored stored;
    stored.name = name;
    stored.format = format_;
    stored.shape = shape;
    stored.owner = owner_;
    return stored;
  }
  std::vector<std::string> unread() const override { return {}; }
  std::string file_of(std::string_view) const override { return {}; }

 private:
  Format format_;
  std::vector<std::string> names_;
  std::shared_ptr<const StoredBytes> owner_;
};

}  // namespace

Model Model::of_noise(const ModelConfig& config, DType matrices, Memory& memory) {
  const NoiseSource source(matrices);
  return build(config, matrices, &source, WeightUse::inference, memory);
}

}  // namespace r1
