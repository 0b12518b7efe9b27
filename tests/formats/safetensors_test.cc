#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.h"
#include "tensor/dtype.h"
#include "tests/formats/formats_test_util.h"

namespace r1::safetensors_test {
namespace {

std::string file_text(std::string_view header, std::string_view data) {
  std::string out;
  for (size_t i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return out.append(header).append(data);
}

SafetensorsHeader parse(std::string_view file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "m.safetensors");
}

std::string refusal(std::string_view header, size_t data) {
  return error_of([&] { parse(file_text(header, std::string(data, 'x'))); });
}

std::vector<float> read_all(const SafetensorsFile& file, std::string_view name) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) throw Error("no tensor " + std::string(name));
  std::vector<float> out(static_cast<size_t>(tensor->count()));
  read_as_f32(file, *tensor, out);
  return out;
}

// Requires equal bits and prints the first difference.
void expect_bits(std::span<const float> got, std::span<const float> want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << "at " << i << ": got " << got[i] << ", want " << want[i];
  }
}

TEST(Safetensors, ReadsWhatTheReferenceImplementationWrote) {
  const SafetensorsFile file(std::string(R1_SOURCE_DIR) + "/tests/golden/formats/python.safetensors");
  EXPECT_EQ(file.tensors().size(), 7u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("author"), "reference");
  expect_bits(
      read_all(file, "layer.f32"),
      std::vector<float>{0.0f, -0.0f, 1.5f, 0x1p-149f, 3.4028234663852886e38f, static_cast<float>(-1.0 / 3)});
  expect_bits(read_all(file, "layer.bf16"),
              std::vector<float>{1.0f, -3.140625f, 0x1p-133f, 3.3895313892515355e38f});
  expect_bits(read_all(file, "layer.f16"), std::vector<float>{1.0f, -65504.0f, 0x1p-24f, 0.333251953125f});
  expect_bits(read_all(file, "layer.f64"), std::vector<float>{1.0f, 0.1f, -0.0f});
  EXPECT_EQ(read_all(file, "scalar"), std::vector<float>{7.0f});
  EXPECT_TRUE(read_all(file, "empty").empty());
  EXPECT_EQ(file.find("empty")->shape, (std::vector<int64_t>{0, 4}));
  EXPECT_TRUE(file.find("scalar")->shape.empty());
  const std::vector<std::byte> bytes = file.bytes(*file.find("layer.i64"));
  int64_t integers[2];
  ASSERT_EQ(bytes.size(), sizeof(integers));
  std::memcpy(integers, bytes.data(), sizeof(integers));
  EXPECT_EQ(integers[0], -1);
  EXPECT_EQ(integers[1], int64_t{1} << 62);
  EXPECT_NE(error_of([&] {
              read_all(file, "layer.i64");
            }).find("tensor layer.i64 is I64; only F32, BF16, F16 and F64"),
            std::string::npos);
}

TEST(Safetensors, RoundTripsEveryFloatTypeInAnyPieces) {
  TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  Random random(11);
  std::vector<float> values(24 * 17);
  for (float& v : values) v = static_cast<float>(random.normal());
  values[0] = -0.0f;
  values[1] = 0x1p-149f;   // an f32 subnormal
  values[2] = 0x1p-133f;   // a bf16 subnormal
  values[3] = 0x1.8p-23f;  // an f16 subnormal
  SafetensorsWriter writer(path, {{"f32", StoredType::f32, {24, 17}},
                                  {"none", StoredType::bf16, {3, 0}},
                                  {"bf16", StoredType::bf16, {24, 17}},
                                  {"f16", StoredType::f16, {2, 12, 17, 1, 1}},
                                  {"i64", StoredType::i64, {2}},
                                  {"one \"quoted\"", StoredType::f32, {}}});
  const std::span<const float> all(values);
  writer.write("f32", all.first(100));
  writer.write("f32", all.subspan(100));
  writer.write("none", {});
  writer.write("bf16", all.first(1));
  writer.write("bf16", all.subspan(1));
  writer.write("f16", all);
  const int64_t integers[2] = {5, -6};
  writer.write_bytes("i64", std::as_bytes(std::span(integers)));
  writer.write("one \"quoted\"", all.first(1));
  writer.close();

  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.tensors().size(), 6u);
  expect_bits(read_all(file, "f32"), values);
  std::vector<float> rounded = values;
  for (float& v : rounded) v = f32_from_bf16(bf16_from_f32(v));
  expect_bits(read_all(file, "bf16"), rounded);
  rounded = values;
  for (float& v : rounded) v = f32_from_f16(f16_from_f32(v));
  expect_bits(read_all(file, "f16"), rounded);
  EXPECT_EQ(read_all(file, "bf16")[2], 0x1p-133f);
  EXPECT_EQ(read_all(file, "f16")[3], 0x1.8p-23f);
  EXPECT_EQ(file.find("f16")->shape, (std::vector<int64_t>{2, 12, 17, 1, 1}));
  EXPECT_EQ(std::memcmp(file.bytes(*file.find("i64")).data(), integers, 16), 0);
  EXPECT_EQ(read_all(file, "one \"quoted\"").size(), 1u);
  EXPECT_EQ(parse(read_file(path)).data_begin % 8, 0u);
}

TEST(Safetensors, RoundsTiesToEven) {
  TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  SafetensorsWriter writer(path, {{"bf16", StoredType::bf16, {4}}, {"f16", StoredType::f16, {4}}});
  writer.write("bf16", std::vector<float>{0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, -0x1.01p0f});
  writer.write("f16", std::vector<float>{0x1.002p0f, 0x1.006p0f, 0x1.002002p0f, 65519.0f});
  writer.close();
  const SafetensorsFile file(path);
  expect_bits(read_all(file, "bf16"), std::vector<float>{0x1p0f, 0x1.04p0f, 0x1.02p0f, -0x1p0f});
  expect_bits(read_all(file, "f16"), std::vector<float>{0x1p0f, 0x1.008p0f, 0x1.004p0f, 65504.0f});
}

TEST(Safetensors, RefusesToWriteAFiniteValueAsInfinity) {
  TemporaryDirectory dir;
  const auto write = [&](StoredType type, float value) {
    return error_of([&] {
      SafetensorsWriter writer(dir / "a.safetensors", {{"w", type, {3}}});
      writer.write("w", std::vector<float>{1.0f});
      writer.write("w", std::vector<float>{2.0f, value});
      writer.close();
    });
  };
  EXPECT_NE(write(StoredType::f16, 65520.0f)
                .find("a.safetensors: tensor w has 65520 at index 2, too large for F16"),
            std::string::npos);
  EXPECT_NE(write(StoredType::bf16, 3.4e38f).find("too large for BF16"), std::string::npos);
  EXPECT_EQ(write(StoredType::f16, 65519.0f), "");
  EXPECT_EQ(write(StoredType::f16, std::numeric_limits<float>::infinity()), "");  // was infinite before
}

TEST(Safetensors, WriterHoldsItsCallerToTheDeclaration) {
  TemporaryDirectory dir;
  const auto make = [&] {
    return SafetensorsWriter(dir / "a.safetensors",
                             {{"a", StoredType::f32, {2}}, {"b", StoredType::f32, {1}}});
  };
  const std::vector<float> two{1, 2};
  EXPECT_THROW(make().write("b", two), BrokenInvariant);
  EXPECT_THROW(make().write("a", std::vector<float>(3)), BrokenInvariant);
  EXPECT_THROW(make().close(), BrokenInvariant);
  const auto declare = [&](std::vector<SafetensorsWriter::Declared> tensors) {
    return error_of([&] { SafetensorsWriter(dir / "a.safetensors", std::move(tensors)); });
  };
  EXPECT_NE(
      declare({{"a", StoredType::f32, {2}}, {"a", StoredType::f32, {1}}}).find("tensor a is declared twice"),
      std::string::npos);
  EXPECT_NE(declare({{"__metadata__", StoredType::f32, {2}}}).find("reserved name"), std::string::npos);
  EXPECT_NE(declare({{"a", StoredType::f32, {-1}}}).find("cannot be written"), std::string::npos);
  EXPECT_NE(declare({{"a", StoredType::f32, {int64_t{1} << 40, int64_t{1} << 40}}}).find("cannot be written"),
            std::string::npos);
}

TEST(Safetensors, RefusesEveryBrokenHeader) {
  EXPECT_EQ(
      error_of([] { parse("short"); }),
      "m.safetensors: is 5 bytes, a safetensors file has at least 8: it is truncated or something else");
  const auto expect = [](std::string_view header, size_t data, std::string_view reason) {
    const std::string why = refusal(header, data);
    EXPECT_TRUE(why.starts_with("m.safetensors: ")) << header << " -> " << why;
    EXPECT_NE(why.find(reason), std::string::npos) << header << " -> " << why;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  };
  const auto one = [](std::string_view rest) { return "{\"w\":{" + std::string(rest) + "}}"; };
  expect("[]", 0, "does not start with '{'");
  expect("  ", 0, "does not start with '{'");
  expect("{\"w\":", 0, "header: offset ");
  expect("{\"w\":3}", 0, "header: w is an integer; it must be an object");
  expect("{\"__metadata__\":{\"format\":1}}", 0,
         "header: __metadata__.format is an integer; it must be a string");
  expect(one(R"("dtype":"F99","shape":[1],"data_offsets":[0,4])"), 4,
         "tensor w has dtype F99, which is not known");
  expect(one(R"("dtype":"F32","data_offsets":[0,4])"), 4, "field w.shape is missing");
  expect(one(R"("shape":[1],"data_offsets":[0,4])"), 4, "field w.dtype is missing");
  expect(one(R"("dtype":"F32","shape":[1])"), 4, "field w.data_offsets is missing");
  expect(one(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])"), 4,
         "w.shape[0] is a number with a fraction");
  expect(one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), 4,
         "tensor w has a negative dimension (-1)");
  expect(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"), 4,
         "tensor w has shape [4294967296, 4294967296] of F32, which is no whole number of bytes below 2^60");
  expect(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), 0,
         "no whole number of bytes below 2^60");
  expect(one(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])"), 2, "no whole number of bytes");
  expect(one(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), 4,
         "tensor w has 1 data_offsets; it must have 2");
  expect(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), 4,
         "tensor w has data_offsets [4, 0], which are not a range");
  expect(one(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])"), 4, "which are not a range");
  expect(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 4,
         "tensor w ends at byte 8 of the data, the file has 4: it is truncated or damaged");
  expect(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807])"), 4,
         "it is truncated or damaged");
  expect(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775808])"), 4,
         "it must be an integer of 64 bits");
  expect(one(R"("dtype":"BF16","shape":[2],"data_offsets":[0,8])"), 8,
         "tensor w takes 8 bytes, BF16 of shape [2] are 4");
  expect(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
      7, "tensor b overlaps tensor a");
  expect(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
      9, "tensor b begins at byte 5 of the data: bytes 4 to 5 belong to no tensor");
  expect(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 6,
         "the last 2 bytes belong to no tensor");
  expect(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
      2, "key \"a\" appears twice");
  expect("{\"a\\nb\":{\"dtype\":\"X\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "tensor a?b has dtype X");
}

TEST(Safetensors, RefusesHeaderLengthsThatLie) {
  std::string file = file_text("{}", "");
  file[7] = '\x7F';
  EXPECT_NE(error_of([&] { parse(file); }).find("at most 100000000 are allowed"), std::string::npos);
  file[7] = 0;
  file[0] = 3;
  EXPECT_EQ(error_of([&] { parse(file); }),
            "m.safetensors: the header is 3 bytes long, the file has 2 after its length: it is truncated");
}

TEST(Safetensors, TakesWhatTheFormatAllows) {
  EXPECT_EQ(refusal("{}", 0), "");
  EXPECT_EQ(refusal("{}      ", 0), "");
  EXPECT_EQ(refusal(R"({"__metadata__":{}})", 0), "");
  EXPECT_EQ(refusal(R"({"__metadata__":null})", 0), "");
  EXPECT_EQ(refusal(" \n{}\n ", 0), "");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":{"x":1}}})", 1), "");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}})", 3), "");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}})", 3), "");
  // A zero dimension stands beside one that would overflow. Empty tensors may share their place with others.
  EXPECT_EQ(refusal(R"({"e":{"dtype":"F32","shape":[9223372036854775807,0],"data_offsets":[0,0]},
                        "w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})",
                    4),
            "");
  for (const char* type : {"BOOL",    "U8",          "I8",          "F8_E4M3", "F8_E5M2", "I16", "U16", "F16",
                           "BF16",    "I32",         "U32",         "F32",     "I64",     "U64", "F64", "C64",
                           "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"}) {
    const std::string header =
        std::string(R"({"w":{"dtype":")") + type + R"(","shape":[0],"data_offsets":[0,0]}})";
    EXPECT_EQ(refusal(header, 0), "") << type;
    EXPECT_EQ(name_of(parse(file_text(header, "")).tensors[0].type), type);
  }
}

TEST(Safetensors, TruncatedAtEveryLengthIsAnError) {
  TemporaryDirectory dir;
  SafetensorsWriter writer(dir / "a.safetensors",
                           {{"a", StoredType::f32, {3}}, {"b", StoredType::bf16, {2, 2}}});
  writer.write("a", std::vector<float>{1, 2, 3});
  writer.write("b", std::vector<float>{1, 2, 3, 4});
  writer.close();
  const std::string whole = read_file(dir / "a.safetensors");
  ASSERT_EQ(error_of([&] { SafetensorsFile file(dir / "a.safetensors"); }), "");
  for (size_t n = 0; n < whole.size(); ++n) {
    put(dir / "cut.safetensors", whole.substr(0, n));
    const std::string why = error_of([&] { SafetensorsFile file(dir / "cut.safetensors"); });
    EXPECT_NE(why.find("cut.safetensors: "), std::string::npos) << n;
  }
  put(dir / "cut.safetensors", whole + "x");
  EXPECT_NE(error_of([&] { SafetensorsFile file(dir / "cut.safetensors"); }), "");
  EXPECT_NE(error_of([&] { SafetensorsFile file(dir / "none.safetensors"); }).find("none.safetensors"),
            std::string::npos);
}

TEST(Safetensors, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "NO /dev/full HERE";
  const std::string why = error_of([] {
    SafetensorsWriter writer("/dev/full", {{"a", StoredType::f32, {1024}}});
    writer.write("a", std::vector<float>(1024));
    writer.close();
  });
  EXPECT_NE(why.find("/dev/full: no space left"), std::string::npos) << why;
}

TEST(Safetensors, ReadsAPublishedModel) {
  const std::filesystem::path path = shared_data() / "weights/stories260K/model.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NO TEST DATA at " << path << ": set R1_TEST_DATA";
  const SafetensorsFile file(path);
  EXPECT_EQ(file.find("model.embed_tokens.weight")->shape, (std::vector<int64_t>{512, 64}));
  int64_t parameters = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    parameters += tensor.count();
    for (const float v : read_all(file, tensor.name)) ASSERT_TRUE(std::isfinite(v)) << tensor.name;
  }
  EXPECT_GT(parameters, 250'000);
  EXPECT_LT(parameters, 270'000);
}

}  // namespace
}  // namespace r1::safetensors_test
