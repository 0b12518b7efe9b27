// tensor/numerics.h: the numerics names of DESIGN.md, each a row of one table.
//
// A numerics fixes the reduction order, the rounding points and the types of activations, keys and values: a
// token's log-prob is a pure function of (weights, prefix, numerics). Samples and checkpoints record its
// name; resuming under a name with other bits is refused. Rows of different devices may share a name; their
// bits are then equal.
//
//   cpu-f32         weights, activations, keys and values in f32
//   cpu-bf16        weights, activations between ops, keys and values in bf16; every op computes as in
//                   cpu-f32 and rounds once, at its end. The residual stream, what is added to it, the logits
//                   and all gradients stay f32; in training the weights' master copy does, too
//   cpu-avx512bf16  the same, but products with a Weight are summed by VDPBF16PS (ops/matmul/gemm.h)
//   cpu-q8act       as cpu-f32, but a quantised matrix is multiplied as it is stored, by activations that are
//                   quantised block by block (ops/matmul/quant.h), and keys and values are kept in bf16. Only
//                   frozen matrices are quantised, so no model is trained in it
//   cuda-bf16       as cpu-bf16, on a GPU alone, but products with a Weight run on tensor cores
//                   (ops/matmul/tensor_product_cuda.h): they are summed in f32 by steps of sixteen, and the
//                   gradients that the products of the backward pass read are rounded to bf16
//
// On the CPU, each may keep keys and values in another type than its own, for inference alone: NAME/kv-f32, NAME/kv-bf16 or
// NAME/kv-q8, which has one scale per token and head (ops/attention/attention.h). It is a numerics of its own,
// because it has other bits.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tensor/dtype.h"

namespace r1 {

enum class Numerics : uint8_t {
  cpu_f32,
  cpu_bf16,
  cpu_avx512bf16,
  cpu_q8act,
  cuda_bf16,
  cpu_f32_kv_bf16,
  cpu_f32_kv_q8,
  cpu_bf16_kv_q8,
  cpu_avx512bf16_kv_q8,
  cpu_q8act_kv_f32,
  cpu_q8act_kv_q8
};
// With keys and values in their own type.
inline constexpr std::array kAllNumerics = {Numerics::cpu_f32, Numerics::cpu_bf16, Numerics::cpu_avx512bf16,
                                            Numerics::cpu_q8act, Numerics::cuda_bf16};

// The order in which products with a Weight are summed (ops/matmul/gemm.h). q8act: matrices of blocks as in
// ops/matmul/quant.h, the others as f32. tensor_bf16: ops/matmul/tensor_product_cuda.h.
enum class Product : uint8_t { f32, bf16, avx512bf16, q8act, tensor_bf16 };

// The cut of a training step's rows for the gradient. A group of answers to one prompt is cut into
// families, and each family runs the prompt once (model/scoring.h): the gradients of the prompt's keys are
// summed per family. A family has at most `prompts` times the prompt's tokens, but between `least` and
// `most`. `partial_sums` is the number of sums that a weight's gradient is cut into: 1 is one chain over all
// tokens.
struct GradientCut {
  int64_t least = 384, most = 2048, prompts = 16;
  int64_t partial_sums = 1;
};

struct NumericsRow {
  Numerics id;
  Numerics base;  // the numerics that differs at most in the type of keys and values, which are in its own
  std::string_view name;
  Device device;
  DType activations;  // between ops
  DType cache;        // of keys and values
  Product product;
  int64_t k_shards;  // a product's K is cut into at most so many chains, which are added in order
  GradientCut gradient_cut;
  int64_t key_tile;  // keys per tile of attention, counted from position 0 (kKeyTile)
};

// The row of a numerics. Throws BrokenInvariant if it has none for the device.
const NumericsRow& row_of(Numerics numerics, Device device);
// Its first row: what all of its rows share, and the device that it is named after.
const NumericsRow& row_of(Numerics numerics);
inline std::string_view name_of(Numerics numerics) {
  return row_of(numerics).name;
}
// Throws an Error that lists the known names, or that says what this machine's processor lacks.
Numerics numerics_from_name(std::string_view name);
// True if this machine's processor runs these numerics. It says nothing about a GPU.
bool machine_has(Numerics numerics);
// The numerics with keys and values of a type: f32, bf16 or q8. Throws Error if the type is unknown, or if it
// would hold the same bits in more memory.
Numerics with_cache(Numerics numerics, std::string_view type);
// True if the numerics can train: false with quantised matrices, and with keys and values that are not of the
// activations' type.
bool has_gradients(Numerics numerics);
inline DType activation_dtype(Numerics numerics) {
  return row_of(numerics).activations;
}
// Returns the numerics of a model whose matrices have this type if the user names none. Every machine has it,
// so one command gives the same bits everywhere; a GPU has cpu-f32 and cuda-bf16.
Numerics default_numerics(DType matrices, Device device = Device::cpu);
// The default on the CPU for a file some of whose matrices are quantised.
inline constexpr Numerics kQuantisedNumerics = Numerics::cpu_q8act;

// Returns the device of a name: cpu, cuda or cuda:0. Throws Error for another name.
Device device_from_name(std::string_view name);
// Throws Error if the device has no row of these numerics.
void check_device(Numerics numerics, Device device);

}  // namespace r1
