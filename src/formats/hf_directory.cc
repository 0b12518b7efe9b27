#include "formats/hf_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/fp8_scales.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "tensor/fp8.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// A shard must lie in the directory itself, so that a foreign index cannot make the program open other files.
bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() < 256 &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Returns true if `other` has the same tensor as `file`, bit for bit.
bool is_same(const SafetensorsFile& file, const SafetensorsFile& other, const TensorInfo& tensor) {
  const TensorInfo* mine = file.find(tensor.name);
  if (mine == nullptr || mine->type != tensor.type || mine->shape != tensor.shape) return false;
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  std::vector<std::byte> a, b;
  for (uint64_t at = 0, size = tensor.end - tensor.begin; at < size; at += kPiece) {
    a.resize(std::min(kPiece, size - at));
    b.resize(a.size());
    file.read_bytes(*mine, at, a);
    other.read_bytes(tensor, at, b);
    if (a != b) return false;
  }
  return true;
}

}  // namespace

HfWeights::HfWeights(const fs::path& directory) : directory_(directory.string()) {
  const fs::path single = directory / "model.safetensors";
  const fs::path index = directory / "model.safetensors.index.json";
  if (is_there(single)) {
    open_single(single);
  } else if (is_there(index)) {
    open_sharded(index);
  } else if (!fs::is_directory(directory)) {
    throw Error(fmt::format("{}: is not a directory with a checkpoint", directory_));
  } else {
    throw Error(
        fmt::format("{}: has neither model.safetensors nor model.safetensors.index.json", directory_));
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.info->name < b.info->name; });
  for (size_t i = 0; i < entries_.size(); ++i) {
    names_.push_back(entries_[i].info->name);
    by_name_.emplace(entries_[i].info->name, i);
  }
  read_ = std::make_unique<std::atomic<bool>[]>(entries_.size());
}

void HfWeights::open_single(const fs::path& file) {
  listing_ = file.string();
  files_.push_back(std::make_unique<SafetensorsFile>(file));
  for (const TensorInfo& tensor : files_.back()->tensors())
    entries_.push_back({files_.back().get(), &tensor});
}

void HfWeights::open_sharded(const fs::path& index) {
  listing_ = index.string();
  const Json json = read_json(index);
  std::map<std::string, const SafetensorsFile*, std::less<>> shards;
  std::unordered_map<std::string_view, const SafetensorsFile*> placed;
  for (const auto& [tensor, where] : json.at("weight_map").members()) {
    const std::string& shard = where.string();
    if (!is_plain_file_name(shard))
      where.fail("is not a plain file name: shards lie in the index's own directory");
    auto at = shards.find(shard);
    if (at == shards.end()) {
      const fs::path path = index.parent_path() / shard;
      if (!is_there(path)) {
        throw Error(fmt::format("{}: shard {} is missing (tensor {} is in it): download it again", listing_,
                                shown(shard), shown(tensor)));
      }
      files_.push_back(std::make_unique<SafetensorsFile>(path));
      at = shards.emplace(shard, files_.back().get()).first;
    }
    const TensorInfo* info = at->second->find(tensor);
    if (info == nullptr) {
      promised_.emplace(tensor, at->second->path());
      continue;
    }
    entries_.push_back({at->second, info});
    placed.emplace(info->name, at->second);
  }
  // A tensor that the index does not list still belongs to the model.
  for (const auto& file : files_) {
    for (const TensorInfo& tensor : file->tensors()) {
      const auto [at, is_new] = placed.emplace(tensor.name, file.get());
      if (is_new) {
        entries_.push_back({file.get(), &tensor});
      } else if (at->second != file.get() && !is_same(*at->second, *file, tensor)) {
        throw Error(fmt::format("{}: tensor {} is also in {}, with other values: remove one", file->path(),
                                shown(tensor.name), at->second->path()));
      }
    }
  }
}

const TensorInfo* HfWeights::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : entries_[at->second].info;
}

void HfWeights::alias(std::string_view name, std::string_view other) {
  const auto at = by_name_.find(other);
  if (at != by_name_.end()) by_name_.emplace(name, at->second);
}

const HfWeights::Entry& HfWeights::find_entry(const std::string& name) const {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    if (const auto promise = promised_.find(name); promise != promised_.end())
      throw Error(
          fmt::format("{}: tensor {} is missing, {} says it is here", promise->second, name, listing_));
    const std::string nearest = nearest_name(name, names_);
    throw Error(fmt::format("{}: tensor {} is missing{}", listing_, name,
                            nearest.empty() ? "" : fmt::format(" (nearest name: {})", shown(nearest))));
  }
  return entries_[at->second];
}

const HfWeights::Entry& HfWeights::entry(const std::string& name) const {
  const Entry& found = find_entry(name);
  read_[static_cast<size_t>(&found - entries_.data())].store(true, std::memory_order_relaxed);
  return found;
}

void HfWeights::check(const std::string& name, const Shape& expected, const FieldOf& field) const {
  const std::vector<int64_t>& shape = find_entry(name).info->shape;
  for (int d = 0; d < expected.rank(); ++d) {
    if (std::ssize(shape) == expected.rank() && shape[static_cast<size_t>(d)] == expected[d]) continue;
    entry(name, expected, field(expected[d]));  // throws
  }
}

const HfWeights::Entry& HfWeights::entry(const std::string& name, const Shape& expected,
                                         std::string_view why) const {
  const Entry& found = entry(name);
  std::vector<int64_t> want;
  for (int d = 0; d < expected.rank(); ++d) want.push_back(expected[d]);
  if (found.info->shape != want) {
    throw Error(fmt::format(
        "{}: tensor {} is {}, config.json says {}{}: the file and the config are from different models",
        found.file->path(), name, shape_string(found.info->shape), shape_string(want),
        why.empty() ? "" : fmt::format(" ({})", why)));
  }
  return found;
}

Stored HfWeights::take(const std::string& name, const Shape& expected) const {
  const Entry& weight = entry(name, expected, "");
  if (weight.info->type != StoredType::f8_e4m3) return weight.file->stored(*weight.info);
  const auto at = by_name_.find(fp8_scales_name(weight.info->name));
  const Entry scales = at == by_name_.end() ? Entry{} : entries_[at->second];
  check_fp8_pair(*weight.info, weight.file->path(), scales.info,
                 scales.file == nullptr ? listing_ : scales.file->path());
  read_[at->second].store(true, std::memory_order_relaxed);
  Stored out = weight.file->stored_codes(*weight.info);
  out.scales = std::make_shared<const Stored>(scales.file->stored(*scales.info));
  check_fp8_scales(out);
  return out;
}

std::vector<std::string> HfWeights::unread() const {
  std::vector<std::string> out;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (!read_[i].load(std::memory_order_relaxed)) out.push_back(names_[i]);
  }
  return out;
}

std::string HfWeights::file_of(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? listing_ : entries_[at->second].file->path();
}

}  // namespace r1
