// ops/matmul/weight.h: a matrix that products and row look-ups read.
//
// A weight is not a tensor. It is dense [N, K], f32 or bf16, or quantised blocks; low-rank terms will live here
// too. Memory holds the following:
//
//   trained  the parameter's value (f32, row-major), and a copy in the kernel's layout that is made again when
//            dense.version has changed
//   frozen   one copy, made from where the parameter is stored: in the kernel's layout (Layout::panels) or, for
//            a table that only look-ups read, as rows in the stored format (Layout::rows). In cpu-q8act the
//            kernel's layout of blocks are the file's bytes, rearranged (ops/matmul/quant.h)
//
// On a CUDA device, products read rows: in cpu-f32, the value itself of a trained matrix and a copy in f32 of a
// frozen one; in cuda-bf16, a copy in bf16, except of a trained value that is bf16 itself. Quantised matrices stay as they
// are stored there, as tiles (ops/matmul/quant_tiles.h), if their format has them; the numbers are those of a copy in bf16.
// On the CPU, the kernel's layout (gemm.h) is panels of kPanel outputs, f32 or pairs of bf16: pairs in the bf16
// numerics, and of a frozen matrix that is stored in bf16 or f16 (pairs of f16), which has the same bits. A frozen
// matrix rounds as a loaded one: to its parameter's type, then to the activations' type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/matmul/gemm.h"
#include "ops/matmul/quant.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

class Weight {
 public:
  enum class Layout : uint8_t { panels, rows };

  Weight() = default;
  // Non-owning; the model owns its parameters.
  Weight(Parameter* dense, Parameter* bias = nullptr, Layout layout = Layout::panels);
  int64_t N() const { return dense_->value.dim(0); }
  int64_t K() const { return dense_->value.dim(1); }
  Parameter& dense() const { return *dense_; }  // a frozen one has no data
  Parameter* bias() const { return bias_; }
  explicit operator bool() const { return dense_ != nullptr; }

  // Brings the copy that products read up to date. Never call it inside a parallel region. Afterwards, until
  // the parameter's version or the activation type changes, threads may use the weight together. Throws Error
  // if a frozen matrix cannot be read from its file.
  void prepare(Context& ctx) const;
  // Prepares several weights. On a CUDA device all copies of trained matrices are made by one launch.
  static void prepare_all(Context& ctx, std::span<const Weight* const> weights);
  const void* held_at() const { return held_.tensor().data; }  // the copy that products read, now
  int64_t held_bytes() const { return static_cast<int64_t>(held_.bytes()); }  // of the copy, now

  // True if products read blocks, which blocks(), or tiles() on a CUDA device, prepares. fill_b() is for all others.
  bool has_blocks(const Context& ctx) const;
  QuantMatrix blocks(Context& ctx) const;
  // Prepares, then sets b, its strides and the product of `g` for this matrix: g computes x W^T.
  void fill_b(Context& ctx, Gemm& g) const;
  // y [T, N] = x [T, K] W^T (+ bias), not rounded. x is f32 and holds values of the activation type.
  void times(Context& ctx, const float* x, int64_t T, float* y) const;
  // dx [T, K] = or += dy [T, N] W, walking n in order.
  void times_transposed(Context& ctx, const float* dy, int64_t T, float* dx, bool accumulate) const;
  // Adds dy^T x to the gradient of W, and the sum of dy to that of the bias, walking t in order. Parameters
  // without a gradient are skipped.
  void add_weight_gradient(Context& ctx, const float* dy, const float* x, int64_t T) const;

  // Rows [first, first + count) as the forward sees them, in f32 -> to [count, K].
  void dequantise(Context& ctx, int64_t first, int64_t count, float* to) const;
  // The whole matrix as the forward sees it, [N, K] in f32: in place, or a copy in the arena. Call it inside
  // an OpScope.
  const float* rows(Context& ctx) const;
  // Returns the same matrix as bits of bf16, in a numerics whose products read them from a device's memory. Tiles are
  // dequantised into the arena: call it inside an OpScope.
  const uint16_t* bf16_rows(Context& ctx) const;
  // True if the blocks are tiles in a CUDA device's memory.
  bool has_tiles(const Context& ctx) const;
  const std::byte* tiles(Context& ctx) const;
  // Row rows[i] as the forward sees it, in f32 -> to[i].
  void copy_rows(Context& ctx, std::span<const int32_t> rows, float* to) const;

 private:
  enum class Form : uint8_t { none, panels, pairs, blocks, rows, bf16_rows, tiles };
  Form form(const Context& ctx) const;
  bool has_panels_of_blocks(const Context& ctx) const;
  bool holds_rows(const Context& ctx) const;
  bool value_is_read(const Context& ctx) const;
  bool is_ready(const Context& ctx) const;
  Tensor room_for_rows(Context& ctx) const;
  void fill_panels(Context& ctx) const;
  void take(Context& ctx, const Shape& shape, DType dtype) const;
  void copy(Context& ctx, std::span<const int32_t> indices, int64_t first, int64_t count, float* to) const;

  Parameter* dense_ = nullptr;
  Parameter* bias_ = nullptr;
  Layout layout_ = Layout::panels;
  // Panels: f32 [panels, K, kPanel], or bf16 or f16 [panels, pair_rows(K), kPanel, 2]; rows: [N, K]. Blocks, as panels,
  // as rows or as tiles: their bytes, as i32.
  mutable Buffer held_;
  mutable Form held_form_ = Form::none;
  mutable uint64_t held_version_ = 0;
};

}  // namespace r1
