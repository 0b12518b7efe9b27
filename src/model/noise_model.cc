// model/noise_model.cc: Model::of_noise: a model of any shape without a file, to measure its speed.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "model/model.h"
#include "model/uniform_source.h"

namespace r1 {
namespace {

// Endless bytes: a table of random numbers in the format, again and again. The table's length shares no factor
// with the sizes of matrices, so that rows differ.
class NoiseBytes final : public StoredBytes {
 public:
  explicit NoiseBytes(DType dtype) {
    constexpr size_t kNumbers = 65521;
    Random random(1);
    for (size_t i = 0; i < kNumbers; ++i) {
      const auto value = static_cast<float>(random.normal() * 0.02);
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      if (dtype == DType::bf16) {
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

}  // namespace

Model Model::of_noise(const ModelConfig& config, DType matrices, Memory& memory) {
  const UniformSource source(matrices, std::make_shared<NoiseBytes>(matrices));
  return build(config, matrices, &source, WeightUse::inference, memory);
}

}  // namespace r1
