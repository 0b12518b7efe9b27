#include "tensor/numerics.h"

#include <string>

#include "base/error.h"

namespace r1 {
namespace {

constexpr NumericsRow kRows[] = {
    {.id = Numerics::cpu_f32,
     .name = "cpu-f32",
     .device = Device::cpu,
     .activations = DType::f32,
     .cache = DType::f32,
     .product = Product::f32,
     .k_shards = 1,
     .gradient_cut = {},
     .key_tile = 32},
    {.id = Numerics::cpu_bf16,
     .name = "cpu-bf16",
     .device = Device::cpu,
     .activations = DType::bf16,
     .cache = DType::bf16,
     .product = Product::bf16,
     .k_shards = 1,
     .gradient_cut = {},
     .key_tile = 32},
    {.id = Numerics::cpu_avx512bf16,
     .name = "cpu-avx512bf16",
     .device = Device::cpu,
     .activations = DType::bf16,
     .cache = DType::bf16,
     .product = Product::avx512bf16,
     .k_shards = 1,
     .gradient_cut = {},
     .key_tile = 32},
    {.id = Numerics::cpu_q8act,
     .name = "cpu-q8act",
     .device = Device::cpu,
     .activations = DType::f32,
     .cache = DType::bf16,
     .product = Product::q8act,
     .k_shards = 1,
     .gradient_cut = {},
     .key_tile = 32},
    // CUDA's f32 row: the bits of cpu-f32, and so its name.
    {.id = Numerics::cpu_f32,
     .name = "cpu-f32",
     .device = Device::cuda,
     .activations = DType::f32,
     .cache = DType::f32,
     .product = Product::f32,
     .k_shards = 1,
     .gradient_cut = {},
     .key_tile = 32},
    {.id = Numerics::cuda_bf16,
     .name = "cuda-bf16",
     .device = Device::cuda,
     .activations = DType::bf16,
     .cache = DType::bf16,
     .product = Product::tensor_bf16,
     .k_shards = 8,
     .gradient_cut = {},
     .key_tile = 32},
};

const NumericsRow* find_row(Numerics numerics, Device device) {
  for (const NumericsRow& row : kRows) {
    if (row.id == numerics && row.device == device) return &row;
  }
  return nullptr;
}

}  // namespace

const NumericsRow& row_of(Numerics numerics, Device device) {
  if (const NumericsRow* row = find_row(numerics, device)) return *row;
  R1_CHECK(false, "numerics ", static_cast<int>(numerics), " has no row for device ",
           static_cast<int>(device));
  return kRows[0];
}

const NumericsRow& row_of(Numerics numerics) {
  for (const NumericsRow& row : kRows) {
    if (row.id == numerics) return row;
  }
  R1_CHECK(false, "numerics ", static_cast<int>(numerics), " has no row");
  return kRows[0];
}

bool machine_has(Numerics numerics) {
  if (row_of(numerics).device != Device::cpu) return false;
  if (numerics != Numerics::cpu_avx512bf16) return true;
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

Numerics numerics_from_name(std::string_view name) {
  std::string known;
  for (const Numerics numerics : kAllNumerics) {
    if (name != name_of(numerics)) {
      known += (known.empty() ? "" : ", ") + std::string(name_of(numerics));
    } else if (row_of(numerics).device != Device::cpu || machine_has(numerics)) {
      return numerics;
    } else {
      throw Error(
          "numerics \"" + std::string(name) +
          "\": this machine's processor has no AVX512-BF16: use cpu-bf16, which runs anywhere (its bits "
          "differ)");
    }
  }
  throw Error("numerics \"" + std::string(name) + "\" is not known: this build has " + known);
}

Numerics default_numerics(DType matrices, Device device) {
  if (matrices == DType::f32) return Numerics::cpu_f32;
  return device == Device::cuda ? Numerics::cuda_bf16 : Numerics::cpu_bf16;
}

Device device_from_name(std::string_view name) {
  if (name == "cpu") return Device::cpu;
  if (name == "cuda" || name == "cuda:0") return Device::cuda;
  if (name.starts_with("cuda:"))
    throw Error("device " + std::string(name) +
                ": a process uses one GPU, which it calls cuda: choose it with CUDA_VISIBLE_DEVICES");
  throw Error("device " + std::string(name) + ": unknown: the devices are cpu and cuda");
}

void check_device(Numerics numerics, Device device) {
  if (find_row(numerics, device) != nullptr) return;
  if (row_of(numerics).device == Device::cuda)
    throw Error("numerics " + std::string(name_of(numerics)) + " run on a GPU alone: choose the device cuda");
  throw Error("numerics " + std::string(name_of(numerics)) +
              " run on the CPU alone: on a GPU, use cuda-bf16 or cpu-f32");
}

}  // namespace r1
