// formats/gguf_file.h: the tensors and the metadata of a GGUF model, which may be split into several files.
//
// The files of a split model are NAME-00001-of-0000N.gguf to NAME-0000N-of-0000N.gguf; each has the keys
// split.no (from 0), split.count and split.tensors.count, the number of all tensors. The other keys stand in
// the first file. Any of the files names the whole model.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "formats/gguf.h"

namespace r1 {

// A value type: copies share the open files. Const use is safe from many threads.
class GgufFile {
 public:
  // Opens a file, and all others of a split model. Throws Error naming the file and the key or tensor.
  explicit GgufFile(const std::filesystem::path& path);

  const std::string& path() const;                          // of the first file
  const std::string& path(const GgufTensor& tensor) const;  // of the file that has it
  const GgufMetadata& metadata() const;                     // of the first file
  const std::vector<GgufTensor>& tensors() const;           // of all files, in their order
  const GgufTensor* find(std::string_view name) const;      // nullptr: there is none

  // Copies the tensor's bytes from its byte `begin`. Throws Error if the file was shortened meanwhile.
  void read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const;
  // The tensor's bytes in a mapping of its file, which is made when it is first asked for. Whoever shortens
  // the file while it is mapped ends the program; read() has no such danger.
  std::span<const std::byte> map(const GgufTensor& tensor) const;
  // Keeps map()'s bytes alive.
  std::shared_ptr<const void> owner() const { return impl_; }

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

// Elements [first, first + out.size()), row-major and in whole blocks. They are exact for every type but f64,
// which rounds to nearest. Throws Error for types that have no values here (formats/gguf_blocks.h), and names
// the tensor.
void read_as_f32(const GgufFile& file, const GgufTensor& tensor, int64_t first, std::span<float> out);
void read_as_f32(const GgufFile& file, const GgufTensor& tensor, std::span<float> out);  // all of them

}  // namespace r1
