#include "model/imatrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors.h"
#include "formats/shown.h"
#include "model/gguf_names.h"

namespace r1 {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";

// The embedding is looked up, not multiplied, and llama.cpp leaves out the output unless it is asked for it.
bool may_lack_importance(std::string_view name) {
  return name == "token_embd.weight" || name == "output.weight";
}

std::vector<float> read_numbers(const GgufFile& file, const GgufTensor& tensor) {
  if (tensor.type != GgufType::f32) {
    throw Error(fmt::format("{}: tensor {} is {}; it must be F32", file.path(), shown(tensor.name),
                            name_of(tensor.type)));
  }
  std::vector<float> out(static_cast<size_t>(tensor.count()));
  read_as_f32(file, tensor, out);
  for (const float v : out) {
    if (!(v >= 0.0f) || !std::isfinite(v))
      throw Error(fmt::format("{}: tensor {} has {}; it must have finite numbers >= 0", file.path(),
                              shown(tensor.name), v));
  }
  return out;
}

Importance read_importance(const GgufFile& file, const GgufTensor& sums, const std::string& name) {
  const auto fail = [&](std::string_view reason) {
    throw Error(fmt::format("{}: tensor {} {}", file.path(), shown(sums.name), reason));
  };
  if (sums.shape.empty() || sums.shape.size() > 2 || sums.count() == 0)
    fail(fmt::format("is {}; it must be [matrices, columns]", shape_string(sums.shape)));
  const GgufTensor* counts = file.find(name + std::string(kCounts));
  if (counts == nullptr) fail(fmt::format("has no {}{} beside it", shown(name), kCounts));
  Importance out;
  out.columns = sums.shape.back();
  out.matrices = sums.count() / out.columns;
  out.values = read_numbers(file, sums);
  const std::vector<float> seen = read_numbers(file, *counts);
  if (std::ssize(seen) != out.matrices && seen.size() != 1)
    fail(fmt::format("has {} matrices, and {} counts", out.matrices, seen.size()));
  for (int64_t m = 0; m < out.matrices; ++m) {
    const float count = seen[seen.size() == 1 ? 0 : static_cast<size_t>(m)];
    for (int64_t k = 0; k < out.columns; ++k) {
      float& value = out.values[static_cast<size_t>(m * out.columns + k)];
      value = count > 0.0f ? value / count : 0.0f;
    }
  }
  return out;
}

}  // namespace

ImportanceMatrix::ImportanceMatrix(const std::filesystem::path& path) : path_(path.string()) {
  const GgufFile file(path);
  if (const std::string_view type = file.metadata().get_string_or("general.type", "model");
      type != "imatrix") {
    throw Error(fmt::format(
        "{}: is a GGUF file of type {}; an importance matrix, as r1 imatrix writes it, has the type imatrix",
        path_, shown(type)));
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    by_name_.emplace(name, read_importance(file, tensor, name));
  }
  if (by_name_.empty())
    throw Error(fmt::format("{}: has no sums (tensors whose names end in {})", path_, kSums));
}

const Importance& ImportanceMatrix::of(const GgufOutput& tensor) const {
  static const Importance kNone;
  const auto found = by_name_.find(tensor.name);
  if (found == by_name_.end()) {
    if (may_lack_importance(tensor.name)) return kNone;
    throw Error(fmt::format("{}: has no sums for {}: it was made with another model, or with too few tokens",
                            path_, shown(tensor.name)));
  }
  const Importance& out = found->second;
  if (out.columns != tensor.width() || (out.matrices != tensor.matrices() && out.matrices != 1)) {
    throw Error(fmt::format(
        "{}: has {} x {} sums for {}, and the model's tensor is {}: it was made with another model", path_,
        out.matrices, out.columns, shown(tensor.name), shape_string(tensor.shape)));
  }
  return out;
}

void ImportanceMatrix::check(const std::vector<GgufOutput>& tensors) const {
  const bool any =
      std::ranges::any_of(tensors, [&](const GgufOutput& tensor) { return by_name_.contains(tensor.name); });
  if (!any) {
    throw Error(fmt::format(
        "{}: has sums for tensors such as {}, of which the model has none: it was made with another model",
        path_, shown(by_name_.begin()->first)));
  }
}

ImportanceCollector::ImportanceCollector(const ModelConfig& config) : config_(config) {}

void ImportanceCollector::see(const std::string& weight, int64_t part, int64_t parts, const float* x,
                              int64_t rows, int64_t columns, int64_t stride) {
  const std::optional<GgufPlace> place = gguf_place(config_, weight);
  R1_CHECK(place, weight, " has no place in GGUF");
  std::string name = place->tensor;
  int64_t matrix = std::max<int64_t>(0, place->expert),
          matrices = place->expert >= 0 ? config_.moe.experts : 1;
  if (place->is_latent) {
    const LatentNames names = latent_names(name);
    matrices = parts / 2;
    name = part < matrices ? names.keys : names.values;
    matrix = part % matrices;
  }
  const std::scoped_lock lock(mutex_);
  Sums& sums = sums_[name];
  if (sums.squares.empty()) {
    sums.columns = columns;
    sums.squares.resize(static_cast<size_t>(matrices * columns));
    sums.counts.resize(static_cast<size_t>(matrices));
  }
  R1_CHECK(sums.columns == columns && std::ssize(sums.counts) == matrices, name, " ", columns);
  double* const to = sums.squares.data() + matrix * columns;
  for (int64_t t = 0; t < rows; ++t) {
    const float* const row = x + t * stride;
    for (int64_t k = 0; k < columns; ++k) to[k] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  }
  sums.counts[static_cast<size_t>(matrix)] += rows;
}

std::vector<std::string> ImportanceCollector::unseen() const {
  std::vector<std::string> out;
  for (const auto& [name, sums] : sums_) {
    const auto none = std::ranges::count(sums.counts, 0);
    if (none > 0) out.push_back(fmt::format("{} ({} of {})", name, none, sums.counts.size()));
  }
  return out;
}

void ImportanceCollector::write(const std::filesystem::path& path, const About& about) const {
  GgufKeys keys;
  const std::vector<std::string> datasets = {about.dataset};
  keys.set("general.type", "imatrix").set("imatrix.datasets", datasets);
  keys.set("imatrix.chunk_count", static_cast<uint32_t>(about.chunks));
  keys.set("imatrix.chunk_size", static_cast<uint32_t>(about.chunk_tokens));
  std::vector<GgufWriter::Declared> declared;
  for (const auto& [name, sums] : sums_) {
    const int64_t matrices = std::ssize(sums.counts);
    declared.push_back({name + std::string(kSums), GgufType::f32, {matrices, sums.columns}});
    declared.push_back({name + std::string(kCounts), GgufType::f32, {matrices, 1}});
  }
  GgufWriter out(path, keys, std::move(declared));
  const auto put = [&](const std::string& name, const auto& numbers) {
    const std::vector<float> rounded(numbers.begin(), numbers.end());
    for (const float v : rounded) {
      if (!std::isfinite(v))
        throw Error(fmt::format("{}: the sum of squares of {} is infinite", path.string(), name));
    }
    out.write(name, std::as_bytes(std::span(rounded)));
  };
  for (const auto& [name, sums] : sums_) {
    put(name + std::string(kSums), sums.squares);
    put(name + std::string(kCounts), sums.counts);
  }
  out.close();
}

}  // namespace r1
