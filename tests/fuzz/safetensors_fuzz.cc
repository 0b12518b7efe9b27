// Any bytes read as a safetensors file give an Error, or a directory whose tensors lie inside the file and
// cover the data once. Each input is tried unchanged, and as the header of a file with some data. FP8
// matrices are read with their scales: an Error, or the products of codes and scales, whatever the range that
// is read.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/fp8_scales.h"
#include "formats/safetensors.h"
#include "tensor/fp8.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

class FuzzBytes final : public r1::StoredBytes {
 public:
  explicit FuzzBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    require(begin <= bytes_.size() && to.size() <= bytes_.size() - begin);
    std::ranges::copy(bytes_.subspan(begin, to.size()), to.begin());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string path_ = "fuzz";
};

void read_fp8(std::span<const std::byte> file, const r1::SafetensorsHeader& header,
              const r1::TensorInfo& weight) {
  const auto scales =
      std::ranges::find(header.tensors, r1::fp8_scales_name(weight.name), &r1::TensorInfo::name);
  const r1::TensorInfo* found = scales == header.tensors.end() ? nullptr : &*scales;
  r1::check_fp8_pair(weight, "fuzz", found, "fuzz");
  const auto owner = std::make_shared<const FuzzBytes>(file.subspan(header.data_begin));
  const r1::Format format = found->type == r1::StoredType::f32    ? r1::Format::f32
                            : found->type == r1::StoredType::bf16 ? r1::Format::bf16
                                                                  : r1::Format::f16;
  const r1::Stored of{.name = "s",
                      .format = format,
                      .shape = r1::Shape(found->shape),
                      .begin = found->begin,
                      .owner = owner,
                      .scales = nullptr};
  const r1::Stored stored{.name = "w",
                          .format = r1::Format::f8_e4m3,
                          .shape = r1::Shape(weight.shape),
                          .begin = weight.begin,
                          .owner = owner,
                          .scales = std::make_shared<const r1::Stored>(of)};
  r1::check_fp8_scales(stored);
  std::vector<float> all(static_cast<size_t>(stored.count())), codes(all.size()),
      factors(static_cast<size_t>(of.count()));
  stored.read(0, all);
  r1::widen_e4m3(file.subspan(header.data_begin + weight.begin, all.size()), codes);
  of.read(0, factors);
  const int64_t K = weight.shape[1];
  for (int64_t i = 0; i < stored.count(); ++i) {
    const auto at = static_cast<size_t>(i);
    const float want = codes[at] * factors[static_cast<size_t>(i / K / 128 * of.shape[1] + i % K / 128)];
    require(all[at] == want || (want != want && all[at] != all[at]));
  }
  const size_t first = all.size() / 3;
  std::vector<float> part(all.size() / 2);
  stored.read(static_cast<int64_t>(first), part);
  for (size_t i = 0; i < part.size(); ++i) require(part[i] == all[first + i] || part[i] != part[i]);
}

void parse(std::span<const std::byte> file) {
  try {
    const r1::SafetensorsHeader header = r1::parse_safetensors_header(file, file.size(), "fuzz");
    uint64_t covered = 0;
    unsigned sum = 0;
    for (const r1::TensorInfo& tensor : header.tensors) {
      require(tensor.begin == covered && tensor.end <= file.size() - header.data_begin);
      covered = tensor.end;
      uint64_t count = 1;
      for (const int64_t dim : tensor.shape) count *= static_cast<uint64_t>(dim);
      require(count * static_cast<uint64_t>(r1::bits_of(tensor.type)) == (tensor.end - tensor.begin) * 8);
      for (const std::byte b : file.subspan(header.data_begin + tensor.begin, tensor.end - tensor.begin)) {
        sum += static_cast<unsigned>(b);
      }
    }
    require(covered == file.size() - header.data_begin && sum != 0xFFFFFFFFu);
    for (const r1::TensorInfo& tensor : header.tensors) {
      if (tensor.type == r1::StoredType::f8_e4m3) read_fp8(file, header, tensor);
    }
  } catch (const r1::Error& error) {
    const std::string_view why = error.what();
    require(why.starts_with("fuzz: ") && why.find('\n') == std::string_view::npos && why.size() < 2000);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parse(std::as_bytes(std::span(data, size)));
  if (size == 0) return 0;
  // The first byte is the size of the data; the rest of the input becomes the header.
  std::vector<uint8_t> file(8 + (size - 1) + data[0]);
  const uint64_t length = size - 1;
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, data + 1, size - 1);
  parse(std::as_bytes(std::span<const uint8_t>(file)));
  return 0;
}
