// FP8 weights of a directory: their scales are found in any shard, and pairs that do not fit are refused in
// one line.
#include "formats/fp8_scales.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/hf_directory.h"
#include "formats/json.h"
#include "tests/formats/formats_test_util.h"

namespace r1::fp8_scales_test {
namespace {

struct Fp8Entry {
  std::string name;
  StoredType type;
  std::vector<int64_t> shape;
  uint64_t fill;  // the bytes of one element
};

void write_entries(const std::filesystem::path& path, const std::vector<Fp8Entry>& entries) {
  std::vector<SafetensorsWriter::Declared> declared;
  for (const Fp8Entry& e : entries) declared.push_back({e.name, e.type, e.shape});
  SafetensorsWriter writer(path, declared);
  for (const Fp8Entry& e : entries) {
    int64_t count = 1;
    for (const int64_t dim : e.shape) count *= dim;
    std::string bytes;
    for (int64_t i = 0; i < count; ++i)
      bytes.append(reinterpret_cast<const char*>(&e.fill), static_cast<size_t>(bits_of(e.type)) / 8);
    writer.write_bytes(e.name, std::as_bytes(std::span(bytes)));
  }
  writer.close();
}

constexpr uint64_t kOne = 0x38, kHalfF32 = 0x3F000000, kHalfBf16 = 0x3F00, kHalfF16 = 0x3800;

TEST(Fp8Weights, AreReadWithTheirScales) {
  TemporaryDirectory dir;
  write_entries(dir / "model.safetensors", {{"a.weight", StoredType::f8_e4m3, {130, 260}, kOne},
                                            {"a.weight_scale_inv", StoredType::f32, {2, 3}, kHalfF32}});
  const HfWeights weights(dir.path());
  const Stored stored = weights.take("a.weight", {130, 260});
  EXPECT_EQ(stored.format, Format::f8_e4m3);
  std::vector<float> out(130 * 260);
  stored.read(0, out);
  for (const float v : out) ASSERT_EQ(v, 0.5f);
  EXPECT_TRUE(weights.unread().empty());  // the scales belong to the weight
}

TEST(Fp8Weights, ScalesMayBeOfAnotherShardOrOf16Bits) {
  TemporaryDirectory dir;
  write_entries(dir / "m-1.safetensors", {{"a.weight", StoredType::f8_e4m3, {2, 3}, kOne},
                                          {"b.weight", StoredType::f8_e4m3, {2, 3}, kOne},
                                          {"b.weight_scale_inv", StoredType::bf16, {1, 1}, kHalfBf16}});
  write_entries(dir / "m-2.safetensors", {{"a.weight_scale_inv", StoredType::f16, {1, 1}, kHalfF16}});
  Json map = Json::object();
  for (const char* name : {"a.weight", "b.weight", "b.weight_scale_inv"}) map.set(name, "m-1.safetensors");
  map.set("a.weight_scale_inv", "m-2.safetensors");
  put(dir / "model.safetensors.index.json", Json::object().set("weight_map", map).dump());
  const HfWeights weights(dir.path());
  for (const char* name : {"a.weight", "b.weight"}) {
    std::vector<float> out(6);
    weights.take(name, {2, 3}).read(0, out);
    EXPECT_EQ(out, std::vector<float>(6, 0.5f)) << name;
  }
}

TEST(Fp8Weights, PairsThatDoNotFitAreRefusedInOneLine) {
  TemporaryDirectory dir;
  const auto refusal = [&](const std::vector<Fp8Entry>& entries, const Shape& shape = {130, 260}) {
    write_entries(dir / "model.safetensors", entries);
    const std::string why = error_of([&] { HfWeights(dir.path()).take("a.weight", shape); });
    const std::string file = (dir / "model.safetensors").string();
    EXPECT_EQ(why.find('\n'), std::string::npos);
    return why.starts_with(file) ? why.substr(file.size()) : why;
  };
  const Fp8Entry weight{"a.weight", StoredType::f8_e4m3, {130, 260}, kOne};
  const auto scales = [](StoredType type, std::vector<int64_t> shape, uint64_t fill) {
    return Fp8Entry{"a.weight_scale_inv", type, std::move(shape), fill};
  };
  EXPECT_EQ(refusal({weight, scales(StoredType::f32, {2, 3}, kHalfF32)}), "");
  EXPECT_EQ(
      refusal({weight}),
      ": tensor a.weight is F8_E4M3, and its scales, tensor a.weight_scale_inv, are missing: download the "
      "checkpoint again");
  EXPECT_EQ(
      refusal({weight, scales(StoredType::f32, {1, 3}, kHalfF32)}),
      ": tensor a.weight_scale_inv is [1, 3]; the scales of a.weight, which is [130, 260], must be [2, 3]");
  EXPECT_EQ(
      refusal({weight, scales(StoredType::f32, {6}, kHalfF32)}),
      ": tensor a.weight_scale_inv is [6]; the scales of a.weight, which is [130, 260], must be [2, 3]");
  EXPECT_EQ(refusal({weight, scales(StoredType::i32, {2, 3}, 1)}),
            ": tensor a.weight_scale_inv is I32; scales must be F32, BF16 or F16");
  EXPECT_EQ(refusal({weight, scales(StoredType::f8_e4m3, {2, 3}, kOne)}),
            ": tensor a.weight_scale_inv is F8_E4M3; scales must be F32, BF16 or F16");
  EXPECT_EQ(refusal({weight, scales(StoredType::f32, {2, 3}, 0)}),
            ": tensor a.weight_scale_inv is 0 at [0, 0]; a scale must be a positive number: the weights are "
            "damaged");
  EXPECT_EQ(refusal({weight, scales(StoredType::f32, {2, 3}, 0x7FC00000)}),
            ": tensor a.weight_scale_inv is NaN at [0, 0]; a scale must be a positive number: the weights "
            "are damaged");
  EXPECT_EQ(refusal({{"a.weight", StoredType::f8_e4m3, {260}, kOne}}, {260}),
            ": tensor a.weight is F8_E4M3 of shape [260]; FP8 weights must be matrices");
  EXPECT_EQ(refusal({{"a.weight", StoredType::f8_e5m2, {130, 260}, kOne}}),
            ": tensor a.weight is F8_E5M2; only F32, BF16, F16 and F64 are read as numbers, and F8_E4M3 with "
            "scales: "
            "convert the checkpoint first");
}

}  // namespace
}  // namespace r1::fp8_scales_test
