#include "model/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/shown.h"
#include "model/gguf_keys.h"
#include "model/gguf_names.h"
#include "model/model.h"
#include "tensor/memory.h"

namespace r1 {
namespace {

GgufType gguf_type_of_format(Format format) {
  switch (format) {
    case Format::f32:
    case Format::f64:
      return GgufType::f32;
    case Format::f16:
      return GgufType::f16;
    default:
      return GgufType::bf16;
  }
}

void read_checked(const Stored& stored, int64_t first, std::span<float> out) {
  stored.read(first, out);
  check_finite(stored, first, std::span<const float>(out));
}

// The checkpoint's row that a file's row of a permuted tensor holds: gguf_row backwards.
int64_t checkpoint_row(int64_t row, int64_t head_rows) {
  const int64_t head = row / head_rows, within = row % head_rows, half = head_rows / 2;
  return head * head_rows + within % 2 * half + within / 2;
}

void read_permuted(const Stored& stored, int64_t head_rows, int64_t first, std::span<float> out) {
  const int64_t width = stored.shape.rank() == 1 ? 1 : stored.shape[1];
  for (int64_t at = 0; at < std::ssize(out); at += width) {
    const int64_t row = checkpoint_row((first + at) / width, head_rows);
    read_checked(stored, row * width, out.subspan(static_cast<size_t>(at), static_cast<size_t>(width)));
  }
}

// A stack of equal matrices: element `first` of the whole.
void read_stacked(const std::vector<Stored>& parts, int64_t first, std::span<float> out) {
  const int64_t size = parts.front().count();
  for (size_t at = 0; at < out.size();) {
    const int64_t position = first + static_cast<int64_t>(at), within = position % size;
    const auto count = std::min(out.size() - at, static_cast<size_t>(size - within));
    read_checked(parts[static_cast<size_t>(position / size)], within, out.subspan(at, count));
    at += count;
  }
}

// kv_b_proj [H (nope + V), R]: rows of attn_k_b [H, R, nope], where row r of a head is column r of its first
// nope rows.
struct LatentParts {
  Stored stored;
  int64_t nope, value, rank;

  void read_keys(int64_t first, std::span<float> out) const {
    std::vector<float> head(static_cast<size_t>(nope * rank));
    int64_t have = -1;
    for (int64_t at = 0; at < std::ssize(out); at += nope) {
      const int64_t row = (first + at) / nope, h = row / rank, r = row % rank;
      if (h != have) read_checked(stored, h * (nope + value) * rank, head);
      have = h;
      for (int64_t n = 0; n < nope; ++n)
        out[static_cast<size_t>(at + n)] = head[static_cast<size_t>(n * rank + r)];
    }
  }
  void read_values(int64_t first, std::span<float> out) const {
    for (int64_t at = 0; at < std::ssize(out); at += rank) {
      const int64_t row = (first + at) / rank, h = row / value, v = row % value;
      read_checked(stored, (h * (nope + value) + nope + v) * rank,
                   out.subspan(static_cast<size_t>(at), static_cast<size_t>(rank)));
    }
  }
};

class OutputMaker {
 public:
  OutputMaker(const ModelConfig& config, const WeightSource& weights) : config_(config), weights_(weights) {}

  std::vector<GgufOutput> make() {
    NoMemory nothing;
    const Model shapes = Model::shape_only(config_, DType::f32, nothing, WeightUse::training);
    for (const Parameter& p : shapes.parameters()) add(p.name, p.value.shape);
    for (auto& [name, parts] : stacks_) {
      GgufOutput& out = outputs_[at_.at(name)];
      out.shape.front() = std::ssize(parts);
      out.read = [parts = std::move(parts)](int64_t first, std::span<float> to) {
        read_stacked(parts, first, to);
      };
    }
    add_rope_factors();
    return std::move(outputs_);
  }

 private:
  void add(const std::string& name, const Shape& shape) {
    const std::optional<GgufPlace> place = gguf_place(config_, name);
    if (!place)
      throw Error(fmt::format("{}: GGUF has no name for tensor {}", weights_.file_of(name), shown(name)));
    weights_.check(name, shape, [this](int64_t size) { return fields_of_size(config_, size); });
    Stored stored = weights_.take(name, shape);
    std::vector<int64_t> dims;
    for (int d = 0; d < shape.rank(); ++d) dims.push_back(shape[d]);
    if (place->is_latent) return add_latent(place->tensor, std::move(stored));
    if (place->expert >= 0) {
      std::vector<Stored>& stack = stacks_[place->tensor];
      if (stack.empty()) {
        dims.insert(dims.begin(), 1);
        push(place->tensor, std::move(dims), stored, {});
      }
      stack.push_back(std::move(stored));
      return;
    }
    const int64_t head_rows = place->head_rows;
    if (head_rows > 0) {
      push(place->tensor, std::move(dims), stored, [stored, head_rows](int64_t first, std::span<float> to) {
        read_permuted(stored, head_rows, first, to);
      });
    } else {
      push(place->tensor, std::move(dims), stored,
           [stored](int64_t first, std::span<float> to) { read_checked(stored, first, to); });
    }
  }

  void push(const std::string& name, std::vector<int64_t> dims, const Stored& stored,
            std::function<void(int64_t, std::span<float>)> read) {
    GgufOutput out;
    out.name = name;
    out.shape = std::move(dims);
    out.is_matrix = is_quantisable(name, out.shape.size());
    out.stored = out.is_matrix ? gguf_type_of_format(stored.format) : GgufType::f32;
    out.read = std::move(read);
    at_[name] = outputs_.size();
    outputs_.push_back(std::move(out));
  }

  void add_latent(const std::string& kv_b, Stored stored) {
    const LatentNames names = latent_names(kv_b);
    const auto parts = std::make_shared<const LatentParts>(
        LatentParts{stored, config_.qk_nope_head_dim, config_.v_head_dim, config_.kv_lora_rank});
    push(names.keys, {config_.heads, parts->rank, parts->nope}, stored,
         [parts](int64_t first, std::span<float> to) { parts->read_keys(first, to); });
    push(names.values, {config_.heads, parts->value, parts->rank}, stored,
         [parts](int64_t first, std::span<float> to) { parts->read_values(first, to); });
  }

  void add_rope_factors() {
    std::vector<float> factors = gguf_rope_factors(config_);
    if (factors.empty()) return;
    GgufOutput out;
    out.name = "rope_freqs.weight";
    out.shape = {std::ssize(factors)};
    out.read = [factors = std::move(factors)](int64_t first, std::span<float> to) {
      std::copy_n(factors.begin() + first, to.size(), to.begin());
    };
    outputs_.push_back(std::move(out));
  }

  const ModelConfig& config_;
  const WeightSource& weights_;
  std::vector<GgufOutput> outputs_;
  std::map<std::string, size_t> at_;  // into outputs_
  std::map<std::string, std::vector<Stored>> stacks_;
};

}  // namespace

int64_t GgufOutput::count() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

bool is_quantisable(std::string_view name, size_t rank) {
  return rank >= 2 && name.ends_with(".weight") && !name.ends_with("_norm.weight") &&
         !name.ends_with("ffn_gate_inp.weight");
}

LatentNames latent_names(const std::string& kv_b) {
  constexpr std::string_view kTail = "attn_kv_b.weight";
  R1_CHECK(kv_b.ends_with(kTail), kv_b);
  const std::string layer = kv_b.substr(0, kv_b.size() - kTail.size());
  return {layer + "attn_k_b.weight", layer + "attn_v_b.weight"};
}

std::vector<GgufOutput> gguf_outputs(const ModelConfig& config, const WeightSource& weights) {
  return OutputMaker(config, weights).make();
}

std::vector<GgufOutput> gguf_outputs(const GgufFile& file) {
  std::vector<GgufOutput> outputs;
  for (const GgufTensor& tensor : file.tensors()) {
    if (!can_dequantize(tensor.type)) {
      throw Error(fmt::format("{}: tensor {} is {}, which r1 does not read", file.path(tensor),
                              shown(tensor.name), name_of(tensor.type)));
    }
    GgufOutput out;
    out.name = tensor.name;
    out.shape = tensor.shape;
    out.stored = tensor.type == GgufType::f64 ? GgufType::f32 : tensor.type;
    out.is_matrix = is_quantisable(tensor.name, tensor.shape.size());
    const GgufTensor* const at = &tensor;  // the file's list stays where it is
    out.read = [file, at](int64_t first, std::span<float> to) {
      read_as_f32(file, *at, first, to);
      for (size_t i = 0; i < to.size(); ++i) {
        if (std::isfinite(to[i])) continue;
        throw Error(fmt::format("{}: tensor {} is {} at element {}: the weights are damaged", file.path(*at),
                                shown(at->name), std::isnan(to[i]) ? "NaN" : "infinite",
                                first + static_cast<int64_t>(i)));
      }
    };
    if (tensor.type != GgufType::f64)
      out.read_bytes = [file, at](uint64_t begin, std::span<std::byte> to) { file.read(*at, begin, to); };
    outputs.push_back(std::move(out));
  }
  return outputs;
}

}  // namespace r1
