// Names of numerics, and types of keys and values beside their own.
#include "tensor/numerics.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace r1::numerics_test {
namespace {

std::string refused(Numerics numerics, const char* type) {
  try {
    with_cache(numerics, type);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Numerics, EveryNameIsReadBack) {
  for (const Numerics numerics :
       {Numerics::cpu_f32, Numerics::cpu_bf16, Numerics::cpu_avx512bf16, Numerics::cpu_q8act,
        Numerics::cpu_f32_kv_bf16, Numerics::cpu_f32_kv_q8, Numerics::cpu_bf16_kv_q8,
        Numerics::cpu_avx512bf16_kv_q8, Numerics::cpu_q8act_kv_f32, Numerics::cpu_q8act_kv_q8}) {
    EXPECT_EQ(row_of(numerics).id, numerics);
    if (machine_has(numerics)) {
      EXPECT_EQ(numerics_from_name(name_of(numerics)), numerics);
    }
    // The type is the last part of the name; the rest is the base's, whose own type has no such part.
    const NumericsRow& row = row_of(numerics);
    const std::string base(name_of(row.base));
    EXPECT_EQ(row.name, row.id == row.base ? base : base + "/kv-" + std::string(name_of(row.cache)));
    EXPECT_EQ(with_cache(row.base, name_of(row.cache)), numerics);
    EXPECT_EQ(with_cache(numerics, name_of(row_of(row.base).cache)), row.base);
  }
}

TEST(Numerics, OnlyTheTypeOfKeysAndValuesDiffers) {
  for (const Numerics base : kAllNumerics) {
    if (row_of(base).device != Device::cpu) continue;
    const NumericsRow& own = row_of(base);
    const NumericsRow& other = row_of(with_cache(base, "q8"));
    EXPECT_EQ(other.cache, DType::q8);
    EXPECT_EQ(other.base, base);
    EXPECT_EQ(other.activations, own.activations);
    EXPECT_EQ(other.product, own.product);
    EXPECT_FALSE(has_gradients(other.id));
    EXPECT_EQ(has_gradients(base), base != Numerics::cpu_q8act);
    EXPECT_THROW(check_device(other.id, Device::cuda), Error);
  }
}

TEST(Numerics, TypesThatWouldOnlyTakeMoreMemoryAreRefused) {
  EXPECT_NE(refused(Numerics::cpu_bf16, "f32").find("those of cpu-bf16 are bf16 numbers"), std::string::npos);
  EXPECT_NE(refused(Numerics::cpu_avx512bf16, "f32").find("use bf16 or q8"), std::string::npos);
  EXPECT_NE(refused(Numerics::cpu_f32, "q4").find("f32, bf16 or q8"), std::string::npos);
  EXPECT_NE(refused(Numerics::cuda_bf16, "q8").find("cuda-bf16 has keys and values in bf16 alone"),
            std::string::npos);
  EXPECT_EQ(with_cache(Numerics::cpu_q8act, "f32"), Numerics::cpu_q8act_kv_f32);
}

TEST(Numerics, AnUnknownNameSaysHowTypesOfKeysAreWritten) {
  try {
    numerics_from_name("cpu-f32/kv-q4");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("NAME/kv-f32, NAME/kv-bf16 and NAME/kv-q8"), std::string::npos);
  }
}

}  // namespace
}  // namespace r1::numerics_test
