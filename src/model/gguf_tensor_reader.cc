#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/safetensors.h"
#include "formats/shown.h"
#include "model/gguf_names.h"

namespace r1 {

struct GgufTensorReader::Head {
  std::mutex mutex;
  int64_t number = -1;        // -1: none yet
  std::vector<float> values;  // [nope + V, R]
  std::vector<float> keys;    // [R, nope], as they are stored
};

namespace {

constexpr std::string_view kLatentKeys = "attn_k_b.weight", kLatentValues = "attn_v_b.weight";

// "blk.3.attn_kv_b.weight" -> "blk.3.PART"
std::string beside(const std::string& tensor, std::string_view part) {
  return fmt::format("{}.{}", tensor.substr(0, tensor.find('.', tensor.find('.') + 1)), part);
}

int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

// The same as read_as_f32, but the range may begin and end within blocks.
void read_range(const GgufFile& file, const GgufTensor& tensor, int64_t first, std::span<float> out) {
  const int64_t block = row_of(tensor.type).block;
  const int64_t end = first + static_cast<int64_t>(out.size());
  const int64_t whole_begin = (first + block - 1) / block * block, whole_end = end / block * block;
  const auto partly = [&](int64_t begin, int64_t stop) {  // within one block
    std::vector<float> values(static_cast<size_t>(block));
    read_as_f32(file, tensor, begin / block * block, values);
    std::copy_n(values.begin() + begin % block, stop - begin, out.begin() + (begin - first));
  };
  if (whole_begin > whole_end) return partly(first, end);
  if (first < whole_begin) partly(first, whole_begin);
  read_as_f32(
      file, tensor, whole_begin,
      out.subspan(static_cast<size_t>(whole_begin - first), static_cast<size_t>(whole_end - whole_begin)));
  if (whole_end < end) partly(whole_end, end);
}

}  // namespace

GgufTensorReader::GgufTensorReader(GgufFile file, const ModelConfig& config, const std::string& name,
                                   std::vector<int64_t> shape)
    : file_(std::move(file)), name_(name), shape_(std::move(shape)) {
  const std::optional<GgufPlace> place = gguf_place(config, name_);
  if (!place) throw Error(fmt::format("{}: GGUF has no name for tensor {}", file_.path(), shown(name_)));
  if (place->is_latent && file_.find(place->tensor) == nullptr &&
      file_.find(beside(place->tensor, kLatentKeys)) != nullptr) {
    nope_ = config.qk_nope_head_dim;
    value_ = config.v_head_dim;
    rank_ = config.kv_lora_rank;
    R1_CHECK(shape_ == (std::vector<int64_t>{config.heads * (nope_ + value_), rank_}), name_, " ",
             shape_string(shape_));
    tensor_ = &find(beside(place->tensor, kLatentKeys), {config.heads, rank_, nope_});
    values_ = &find(beside(place->tensor, kLatentValues), {config.heads, value_, rank_});
    head_ = std::make_shared<Head>();
    return;
  }
  std::vector<int64_t> stored = shape_;
  if (place->expert >= 0) stored.insert(stored.begin(), config.moe.experts);
  tensor_ = &find(place->tensor, stored);
  offset_ = std::max<int64_t>(place->expert, 0) * elements_of(shape_);
  head_rows_ = place->head_rows;
}

const GgufTensor& GgufTensorReader::find(const std::string& tensor, const std::vector<int64_t>& shape) const {
  const GgufTensor* found = file_.find(tensor);
  if (found == nullptr)
    throw Error(fmt::format("{}: tensor {} ({}) is missing", file_.path(), tensor, shown(name_)));
  if (found->shape != shape) {
    throw Error(fmt::format(
        "{}: tensor {} ({}) is {}; it must be {}: the keys and the tensors are of different models",
        file_.path(*found), tensor, shown(name_), shape_string(found->shape), shape_string(shape)));
  }
  if (!can_dequantize(found->type)) {
    throw Error(fmt::format("{}: tensor {} is {}, which r1 does not compute with", file_.path(*found), tensor,
                            name_of(found->type)));
  }
  return *found;
}

const std::string& GgufTensorReader::path() const {
  return file_.path(*tensor_);
}

void GgufTensorReader::read(int64_t first, std::span<float> out) const {
  R1_CHECK(first >= 0 && first + static_cast<int64_t>(out.size()) <= elements_of(shape_), name_, " ", first,
           " + ", out.size());
  if (values_ != nullptr) return read_latent(first, out);
  if (head_rows_ == 0) return read_range(file_, *tensor_, offset_ + first, out);
  // Row by row, of which the first and the last may be cut.
  const int64_t width = elements_of(shape_) / shape_.front();
  for (size_t at = 0; at < out.size();) {
    const int64_t row = (first + static_cast<int64_t>(at)) / width,
                  column = (first + static_cast<int64_t>(at)) % width;
    const auto count = std::min(out.size() - at, static_cast<size_t>(width - column));
    read_range(file_, *tensor_, gguf_row(row, head_rows_) * width + column, out.subspan(at, count));
    at += count;
  }
}

Format GgufTensorReader::format() const {
  return values_ != nullptr ? Format::f32 : *format_of(tensor_->type);
}

void GgufTensorReader::read_bytes(uint64_t begin, std::span<std::byte> out) const {
  if (values_ != nullptr) return read_latent_bytes(begin, out);
  const Format format = this->format();
  const auto offset = static_cast<uint64_t>(bytes_of(format, offset_));
  if (head_rows_ == 0) return file_.read(*tensor_, offset + begin, out);
  const auto row_bytes = static_cast<uint64_t>(bytes_of(format, elements_of(shape_) / shape_.front()));
  for (size_t at = 0; at < out.size();) {  // row by row, of which the first and the last may be cut
    const uint64_t position = begin + at, within = position % row_bytes;
    const auto row = static_cast<uint64_t>(gguf_row(static_cast<int64_t>(position / row_bytes), head_rows_));
    const auto count = std::min<uint64_t>(out.size() - at, row_bytes - within);
    file_.read(*tensor_, offset + row * row_bytes + within, out.subspan(at, count));
    at += count;
  }
}

void GgufTensorReader::read_latent_bytes(uint64_t begin, std::span<std::byte> out) const {
  R1_CHECK(begin % sizeof(float) == 0 && out.size() % sizeof(float) == 0, begin, " ", out.size());
  constexpr size_t kPiece = size_t{1} << 18;
  std::vector<float> piece;
  for (size_t at = 0; at < out.size(); at += piece.size() * sizeof(float)) {
    piece.resize(std::min(kPiece, (out.size() - at) / sizeof(float)));
    read_latent(static_cast<int64_t>((begin + at) / sizeof(float)), piece);
    std::memcpy(out.data() + at, piece.data(), piece.size() * sizeof(float));
  }
}

// Joins one head's rows [nope + V, R] from attn_k_b [R, nope] and attn_v_b [V, R].
void GgufTensorReader::fill_head(int64_t head) const {
  if (head_->number == head) return;
  head_->number = -1;
  head_->keys.resize(static_cast<size_t>(rank_ * nope_));
  head_->values.resize(static_cast<size_t>((nope_ + value_) * rank_));
  read_range(file_, *tensor_, head * rank_ * nope_, head_->keys);
  for (int64_t r = 0; r < rank_; ++r) {
    for (int64_t n = 0; n < nope_; ++n)
      head_->values[static_cast<size_t>(n * rank_ + r)] = head_->keys[static_cast<size_t>(r * nope_ + n)];
  }
  read_range(file_, *values_, head * value_ * rank_,
             std::span(head_->values).subspan(static_cast<size_t>(nope_ * rank_)));
  head_->number = head;
}

void GgufTensorReader::read_latent(int64_t first, std::span<float> out) const {
  const int64_t head_size = (nope_ + value_) * rank_;
  const std::scoped_lock lock(head_->mutex);
  for (size_t at = 0; at < out.size();) {
    const int64_t position = first + static_cast<int64_t>(at), within = position % head_size;
    fill_head(position / head_size);
    const auto count = std::min(out.size() - at, static_cast<size_t>(head_size - within));
    std::copy_n(head_->values.begin() + within, count, out.begin() + static_cast<std::ptrdiff_t>(at));
    at += count;
  }
}

void read_gguf_weight(const GgufFile& file, const ModelConfig& config, const std::string& name,
                      const std::vector<int64_t>& shape, std::span<float> out) {
  GgufTensorReader(file, config, name, shape).read(0, out);
}

}  // namespace r1
