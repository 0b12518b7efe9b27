#include "formats/gguf_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/file_reader.h"
#include "formats/gguf_blocks.h"
#include "formats/shown.h"

namespace r1 {
namespace fs = std::filesystem;
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr int64_t kMaxSplits = 99999;  // five digits
constexpr std::string_view kNo = "split.no", kCount = "split.count", kTensors = "split.tensors.count";

struct SplitName {
  std::string prefix;
  int64_t no = 0;  // from 1
  int64_t count = 0;
};

// "NAME-00002-of-00005.gguf"
std::optional<SplitName> split_name(const std::string& name) {
  constexpr size_t kTail = std::string_view("-00002-of-00005.gguf").size();
  if (name.size() <= kTail) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kTail);
  const auto digits = [&](size_t at) -> int64_t {
    int64_t value = 0;
    for (const char c : tail.substr(at, 5)) {
      if (c < '0' || c > '9') return -1;
      value = 10 * value + (c - '0');
    }
    return value;
  };
  const int64_t no = digits(1), count = digits(10);
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || no < 1 || count < no)
    return std::nullopt;
  return SplitName{name.substr(0, name.size() - kTail), no, count};
}

std::string file_of_split(const SplitName& name, int64_t no) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, no, name.count);
}

struct GgufShard {
  explicit GgufShard(const fs::path& where) : path(where.string()), file(where) {
    const auto read = [&](uint64_t offset, std::span<std::byte> out) { file.read(offset, out); };
    header = parse_gguf_header(read, file.size(), path);
  }
  std::span<const std::byte> mapped() const {
    std::call_once(once, [&] {
      MappedFile whole{fs::path(path)};
      if (whole.bytes().size() != file.size()) {
        throw Error(fmt::format("{}: has {} bytes; it had {} when it was opened: the file was changed", path,
                                whole.bytes().size(), file.size()));
      }
      mapping = std::move(whole);
    });
    return mapping.bytes();
  }

  std::string path;
  FileReader file;
  GgufHeader header;
  mutable std::once_flag once;
  mutable MappedFile mapping;
};

// The number of files that a file's keys tell; 1 if it has no such key.
int64_t count_of(const GgufMetadata& metadata) {
  const int64_t count = metadata.get_int_or(kCount, 1);
  if (count < 0 || count > kMaxSplits)
    metadata.fail(kCount, fmt::format("is {}; it must be between 1 and {}", count, kMaxSplits));
  return count == 0 ? 1 : count;  // 0 as well means one file
}

void check_place(const GgufMetadata& metadata, int64_t no, int64_t count) {
  if (const int64_t says = count_of(metadata); says != count)
    metadata.fail(kCount, fmt::format("is {}, and the file's name says {}", says, count));
  if (const int64_t says = metadata.get_int(kNo); says != no - 1)
    metadata.fail(
        kNo, fmt::format("is {}; it must be {}, since the file's name says that it is file {} of {}", says,
                         no - 1, no, count));
}

using Shards = std::vector<std::unique_ptr<const GgufShard>>;

Shards open_all(const fs::path& path) {
  Shards shards;
  auto first = std::make_unique<const GgufShard>(path);
  const int64_t count = count_of(first->header.metadata);
  if (count == 1) {
    shards.push_back(std::move(first));
    return shards;
  }
  const std::optional<SplitName> name = split_name(path.filename().string());
  if (!name) {
    first->header.metadata.fail(
        kCount,
        fmt::format("is {}, so the file must have a name such as NAME-00001-of-{:05}.gguf", count, count));
  }
  check_place(first->header.metadata, name->no, name->count);
  for (int64_t no = 1; no <= name->count; ++no) {
    if (no == name->no) {
      shards.push_back(std::move(first));
      continue;
    }
    const fs::path other = path.parent_path() / file_of_split(*name, no);
    std::error_code ec;
    if (!fs::exists(other, ec)) {
      throw Error(fmt::format("{}: is missing: {} is file {} of {} of a split model", other.string(),
                              path.string(), name->no, name->count));
    }
    shards.push_back(std::make_unique<const GgufShard>(other));
    check_place(shards.back()->header.metadata, no, name->count);
  }
  return shards;
}

}  // namespace

struct GgufFile::Impl {
  Shards shards;
  std::vector<GgufTensor> tensors;
  std::unordered_map<std::string_view, size_t> by_name;  // into tensors, whose names do not move
};

GgufFile::GgufFile(const fs::path& path) {
  auto impl = std::make_shared<Impl>();
  impl->shards = open_all(path);
  for (size_t i = 0; i < impl->shards.size(); ++i) {
    for (const GgufTensor& tensor : impl->shards[i]->header.tensors) {
      impl->tensors.push_back(tensor);
      impl->tensors.back().file = static_cast<uint32_t>(i);
    }
  }
  impl->by_name.reserve(impl->tensors.size());
  for (size_t i = 0; i < impl->tensors.size(); ++i) {
    const GgufTensor& tensor = impl->tensors[i];
    const auto [known, is_new] = impl->by_name.emplace(tensor.name, i);
    if (!is_new) {
      throw Error(fmt::format("{}: tensor {} appears in {} too", impl->shards[tensor.file]->path,
                              shown(tensor.name), impl->shards[impl->tensors[known->second].file]->path));
    }
  }
  const GgufMetadata& metadata = impl->shards.front()->header.metadata;
  if (impl->shards.size() > 1 && metadata.contains(kTensors)) {
    if (const int64_t says = metadata.get_int(kTensors); says != static_cast<int64_t>(impl->tensors.size())) {
      metadata.fail(kTensors,
                    fmt::format("is {}, and the {} files have {} tensors: a file is of another model", says,
                                impl->shards.size(), impl->tensors.size()));
    }
  }
  impl_ = std::move(impl);
}

const std::string& GgufFile::path() const {
  return impl_->shards.front()->path;
}

const std::string& GgufFile::path(const GgufTensor& tensor) const {
  return impl_->shards[tensor.file]->path;
}

const GgufMetadata& GgufFile::metadata() const {
  return impl_->shards.front()->header.metadata;
}

const std::vector<GgufTensor>& GgufFile::tensors() const {
  return impl_->tensors;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = impl_->by_name.find(name);
  return found == impl_->by_name.end() ? nullptr : &impl_->tensors[found->second];
}

void GgufFile::read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const {
  const uint64_t size = tensor.end - tensor.begin;
  R1_CHECK(begin <= size && out.size() <= size - begin, "bytes ", begin, " + ", out.size(), " of ", size);
  impl_->shards[tensor.file]->file.read(tensor.begin + begin, out, "tensor " + shown(tensor.name));
}

std::span<const std::byte> GgufFile::map(const GgufTensor& tensor) const {
  return impl_->shards[tensor.file]->mapped().subspan(tensor.begin, tensor.end - tensor.begin);
}

void read_as_f32(const GgufFile& file, const GgufTensor& tensor, int64_t first, std::span<float> out) {
  if (!can_dequantize(tensor.type)) {
    throw Error(fmt::format("{}: tensor {} is {}, which r1 does not compute with", file.path(tensor),
                            shown(tensor.name), name_of(tensor.type)));
  }
  const GgufTypeRow& row = row_of(tensor.type);
  const auto bytes = static_cast<size_t>(row.bytes), block = static_cast<size_t>(row.block);
  R1_CHECK(first >= 0 && first % row.block == 0 && out.size() % block == 0 &&
               first + static_cast<int64_t>(out.size()) <= tensor.count(),
           tensor.name, ": elements ", first, " + ", out.size(), " of ", tensor.count());
  const size_t most = std::max<size_t>(1, kReadBytes / bytes) * block;  // elements at a time
  const auto begin = static_cast<size_t>(first);
  std::vector<std::byte> piece;
  for (size_t at = 0; at < out.size();) {
    const size_t count = std::min(most, out.size() - at);
    piece.resize(count / block * bytes);
    file.read(tensor, (begin + at) / block * bytes, piece);
    dequantize(tensor.type, piece, out.subspan(at, count));
    at += count;
  }
}

void read_as_f32(const GgufFile& file, const GgufTensor& tensor, std::span<float> out) {
  R1_CHECK(static_cast<int64_t>(out.size()) == tensor.count(), out.size(), " for ", tensor.count());
  read_as_f32(file, tensor, 0, out);
}

}  // namespace r1
