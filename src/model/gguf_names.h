// model/gguf_names.h: where a checkpoint's tensors are in a GGUF file.
//
//   blk.N.attn_q.weight          model.layers.N.self_attn.q_proj.weight
//   blk.N.ffn_gate_exps.weight   model.layers.N.mlp.experts.E.gate_proj.weight, stacked: entry E of the first dimension
//
// Two tensors are stored in another form. The query and key rows of llama have the two halves of a rotary
// pair side by side: row 2i of a head is row i of the checkpoint's, row 2i + 1 is row i + K/2. Newer files of
// deepseek2 split kv_b_proj into attn_k_b [H, R, nope] (transposed) and attn_v_b [H, V, R].
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_file.h"
#include "model/config.h"
#include "tensor/stored.h"

namespace r1 {

struct GgufPlace {
  std::string tensor;      // the name in the file
  int64_t expert = -1;     // which entry of the first dimension; -1: the whole tensor
  int64_t head_rows = 0;   // K if rows are permuted within heads of K rows (gguf_row); 0: they are not
  bool is_latent = false;  // kv_b_proj: if `tensor` is missing, attn_k_b and attn_v_b of the layer hold it
};

// The place of a checkpoint's tensor; nothing if GGUF has no name for it.
std::optional<GgufPlace> gguf_place(const ModelConfig& config, std::string_view name);

// The checkpoint's name of a file's tensor, with "*" for an expert's number; "" if it has none.
std::string checkpoint_name(std::string_view gguf_name);

// N of "blk.N.PART"; nothing for any other name.
std::optional<int64_t> gguf_layer_of(std::string_view gguf_name, std::string_view part);

// The row of a permuted tensor that holds row `row` of the checkpoint's.
int64_t gguf_row(int64_t row, int64_t head_rows);

// Every tensor of the file by its checkpoint name, each expert by itself; sorted. Throws Error for a tensor
// that belongs to no part of the model. Rotary factors are left out: the config has them.
std::vector<std::string> gguf_checkpoint_names(const GgufFile& file, const ModelConfig& config);

// Reads a checkpoint's tensor, its rows put back, an expert cut out, kv_b_proj joined.
class GgufTensorReader {
 public:
  // Throws Error if the tensor is missing, has another shape, or has a type without values
  // (formats/gguf_blocks.h).
  GgufTensorReader(GgufFile file, const ModelConfig& config, const std::string& name,
                   std::vector<int64_t> shape);
  // Elements [first, first + out.size()), row-major, dequantised. Safe from many threads.
  void read(int64_t first, std::span<float> out) const;
  // Reads bytes of the row-major tensor in the file's format. A joined kv_b_proj is f32.
  Format format() const;
  void read_bytes(uint64_t begin, std::span<std::byte> out) const;
  const std::string& path() const;  // of the file that has the tensor

 private:
  struct Head;  // of a joined kv_b_proj: the one that was read last
  const GgufTensor& find(const std::string& tensor, const std::vector<int64_t>& shape) const;
  void read_latent(int64_t first, std::span<float> out) const;
  void read_latent_bytes(uint64_t begin, std::span<std::byte> out) const;
  void fill_head(int64_t head) const;

  GgufFile file_;
  std::string name_;
  std::vector<int64_t> shape_;
  const GgufTensor* tensor_ = nullptr;  // or the keys' part of kv_b_proj
  const GgufTensor* values_ = nullptr;  // the values' part of kv_b_proj
  int64_t offset_ = 0;                  // elements before the first, in a stack of experts
  int64_t head_rows_ = 0;               // as in GgufPlace
  int64_t nope_ = 0, value_ = 0, rank_ = 0;
  std::shared_ptr<Head> head_;
};

// The whole tensor at once.
void read_gguf_weight(const GgufFile& file, const ModelConfig& config, const std::string& name,
                      const std::vector<int64_t>& shape, std::span<float> out);

}  // namespace r1
