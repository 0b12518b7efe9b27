// ops/mla/latent_weight.h: kv_b, the matrix of latent attention, cut by head (see mla.h).
//
// Memory holds the following:
//
//   trained  the parameter's value; W_uv in panels of f32; in the bf16 numerics a rounded copy of all rows in f32.
//            The copies are made again when the version changes
//   frozen   W_uk and W_uv once each, as the products read them, made from where kv_b is stored: in cpu-f32 rows
//            and panels of f32; in the bf16 numerics, and if the stored values are bf16 numbers, pairs of bf16
//            (Product::bf16 gives the bits of f32)
//
// On a CUDA device, products read rows: of f32, or a copy of bf16 in cuda-bf16.
#pragma once

#include <cstdint>

#include "ops/matmul/gemm.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

class LatentWeight {
 public:
  LatentWeight() = default;
  // kv_b [H * (n + v), R], non-owning.
  LatentWeight(Parameter* kv_b, int64_t heads, int64_t nope, int64_t value);
  Parameter& kv_b() const { return *kv_b_; }
  int64_t heads() const { return heads_; }
  int64_t nope() const { return nope_; }
  int64_t value() const { return value_; }
  int64_t latent() const { return kv_b_->value.dim(1); }

  // Brings what the forward reads up to date. Never call it inside a parallel region. Afterwards, until the
  // version or the activation type changes, threads may use the weight together. Throws Error if a frozen
  // matrix cannot be read from its file.
  void prepare(Context& ctx) const;
  int64_t held_bytes() const;  // of the copies, now
  // The copy that products on a CUDA device read, now.
  const void* held_at() const {
    return bf16_rows_.buffer.tensor() ? bf16_rows_.buffer.tensor().data : rows_.buffer.tensor().data;
  }

  // Prepares, then sets b, its strides and the product of `g` for one head: g computes q W_uk, [T, n] -> [T,
  // R], or o W_uv^T, [T, R] -> [T, v].
  void fill_key_b(Context& ctx, int64_t head, Gemm& g) const;
  void fill_value_b(Context& ctx, int64_t head, Gemm& g) const;

  // kv_b as the forward sees it, in f32: in place, or a copy that is remade when the version changes. The
  // backward reads it; a frozen weight has it only then.
  const float* rows(Context& ctx) const;
  // Returns the same matrix as bits of bf16, in a numerics whose products read them from a device's memory.
  const uint16_t* bf16_rows(Context& ctx) const;
  // W_uv by head, in panels of f32 over d; remade when the version changes.
  const float* value_panels(Context& ctx) const;
  int64_t value_panel_floats() const { return panels_floats(value_, latent()); }  // per head

 private:
  // A copy in some layout, and the version and type that it was made from.
  struct Copy {
    Buffer buffer;
    uint64_t version = 0;
    DType activations = DType::f32;  // bf16 rounds the values
  };
  // Takes the memory and returns true if the copy must be made now; from then on it counts as made.
  bool renew(Context& ctx, Copy& copy, Shape shape, DType dtype = DType::f32) const;
  void prepare_frozen(Context& ctx) const;
  bool holds_pairs(const Context& ctx) const;  // of a frozen weight

  Parameter* kv_b_ = nullptr;
  int64_t heads_ = 0, nope_ = 0, value_ = 0;
  mutable Copy rows_, panels_, bf16_rows_;
  mutable Copy keys_, values_;  // of a frozen weight
};

}  // namespace r1
