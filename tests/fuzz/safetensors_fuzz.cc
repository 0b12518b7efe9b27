// Any bytes read as a safetensors file give an Error, or a directory whose tensors lie inside the file and
// cover the data once. Each input is tried unchanged, and as the header of a file with some data.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/safetensors.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
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
