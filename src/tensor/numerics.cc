#include "tensor/numerics.h"

#include <string>

#include "base/error.h"

namespace r1 {
namespace {

constexpr NumericsRow kF32 = {.id = Numerics::cpu_f32,
                              .base = Numerics::cpu_f32,
                              .name = "cpu-f32",
                              .device = Device::cpu,
                              .activations = DType::f32,
                              .cache = DType::f32,
                              .product = Product::f32,
                              .k_shards = 1,
                              .gradient_cut = {},
                              .key_tile = 32};
constexpr NumericsRow kBf16 = {.id = Numerics::cpu_bf16,
                               .base = Numerics::cpu_bf16,
                               .name = "cpu-bf16",
                               .device = Device::cpu,
                               .activations = DType::bf16,
                               .cache = DType::bf16,
                               .product = Product::bf16,
                               .k_shards = 1,
                               .gradient_cut = {},
                               .key_tile = 32};
constexpr NumericsRow kAvx512Bf16 = {.id = Numerics::cpu_avx512bf16,
                                     .base = Numerics::cpu_avx512bf16,
                                     .name = "cpu-avx512bf16",
                                     .device = Device::cpu,
                                     .activations = DType::bf16,
                                     .cache = DType::bf16,
                                     .product = Product::avx512bf16,
                                     .k_shards = 1,
                                     .gradient_cut = {},
                                     .key_tile = 32};
constexpr NumericsRow kQ8act = {.id = Numerics::cpu_q8act,
                                .base = Numerics::cpu_q8act,
                                .name = "cpu-q8act",
                                .device = Device::cpu,
                                .activations = DType::f32,
                                .cache = DType::bf16,
                                .product = Product::q8act,
                                .k_shards = 1,
                                .gradient_cut = {},
                                .key_tile = 32};

// Returns the row of the same numerics with keys and values in another type.
constexpr NumericsRow cached(NumericsRow row, Numerics id, std::string_view name, DType cache) {
  row.id = id;
  row.name = name;
  row.cache = cache;
  return row;
}
// Returns the same row on a GPU.
constexpr NumericsRow on_cuda(NumericsRow row) {
  row.device = Device::cuda;
  return row;
}

constexpr NumericsRow kRows[] = {
    kF32,
    kBf16,
    kAvx512Bf16,
    kQ8act,
    cached(kF32, Numerics::cpu_f32_kv_bf16, "cpu-f32/kv-bf16", DType::bf16),
    cached(kF32, Numerics::cpu_f32_kv_q8, "cpu-f32/kv-q8", DType::q8),
    cached(kBf16, Numerics::cpu_bf16_kv_q8, "cpu-bf16/kv-q8", DType::q8),
    cached(kAvx512Bf16, Numerics::cpu_avx512bf16_kv_q8, "cpu-avx512bf16/kv-q8", DType::q8),
    cached(kQ8act, Numerics::cpu_q8act_kv_f32, "cpu-q8act/kv-f32", DType::f32),
    cached(kQ8act, Numerics::cpu_q8act_kv_q8, "cpu-q8act/kv-q8", DType::q8),
    // CUDA's f32 row: the bits of cpu-f32, and so its name.
    on_cuda(kF32),
    {.id = Numerics::cuda_bf16,
     .base = Numerics::cuda_bf16,
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
  if (row_of(numerics).product != Product::avx512bf16) return true;
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

Numerics numerics_from_name(std::string_view name) {
  std::string known;
  for (const NumericsRow& row : kRows) {
    if (&row != &row_of(row.id)) continue;  // a second device of the same name
    if (name != row.name) {
      if (row.id == row.base) known += (known.empty() ? "" : ", ") + std::string(row.name);
    } else if (row.device != Device::cpu || machine_has(row.id)) {
      return row.id;
    } else {
      throw Error("numerics \"" + std::string(name) +
                  "\": this machine's processor has no AVX512-BF16: use cpu-bf16" +
                  (row.id == row.base ? "" : "/kv-" + std::string(name_of(row.cache))) +
                  ", which runs anywhere (its bits differ)");
    }
  }
  throw Error("numerics \"" + std::string(name) + "\" is not known: this build has " + known +
              ", and for keys and values of another type NAME/kv-f32, NAME/kv-bf16 and NAME/kv-q8");
}

Numerics with_cache(Numerics numerics, std::string_view type) {
  if (type != "f32" && type != "bf16" && type != "q8")
    throw Error("\"" + std::string(type) + "\" is no type of keys and values: they can be f32, bf16 or q8");
  const NumericsRow& given = row_of(numerics);
  const std::string_view own = name_of(row_of(given.base).cache);
  if (type == own) return given.base;
  if (given.device != Device::cpu)
    throw Error(std::string(name_of(given.base)) + " has keys and values in " + std::string(own) + " alone");
  for (const NumericsRow& row : kRows) {
    if (row.device == Device::cpu && row.base == given.base && name_of(row.cache) == type) return row.id;
  }
  throw Error("keys and values in " + std::string(type) + ": those of " + std::string(name_of(given.base)) +
              " are " + std::string(own) + " numbers, which " + std::string(type) +
              " would only hold in twice the memory: use " + std::string(own) + " or q8");
}

bool has_gradients(Numerics numerics) {
  const NumericsRow& row = row_of(numerics);
  return row.product != Product::q8act && row.cache == row.activations;
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
