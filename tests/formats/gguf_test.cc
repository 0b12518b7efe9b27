#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/file.h"
#include "formats/gguf_file.h"
#include "tests/formats/formats_test_util.h"
#include "tests/formats/gguf_builder.h"

namespace r1::gguf_test {
namespace {

std::string gguf_golden(std::string_view name) {
  return std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/" + std::string(name);
}

GgufHeader parse(std::string_view file) {
  return parse_gguf_header(std::as_bytes(std::span(file)), "m.gguf");
}

std::string refusal(std::string_view file) {
  return error_of([&] { parse(file); });
}

std::vector<float> values_of(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.find(name);
  if (tensor == nullptr) throw Error("no tensor " + std::string(name));
  std::vector<float> out(static_cast<size_t>(tensor->count()));
  read_as_f32(file, *tensor, out);
  return out;
}

TEST(Gguf, ReadsEveryKindThatTheReferencePackageWrote) {
  const GgufFile file(gguf_golden("metadata.gguf"));
  const Json want = read_json(gguf_golden("metadata.json"));
  const GgufMetadata& got = file.metadata();
  EXPECT_EQ(got.keys().size(), want.size());
  for (const auto& [key, value] : want.members()) EXPECT_EQ(got.json(key).dump(), value.dump()) << key;
  EXPECT_EQ(got.get_int("a.i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(got.get_int("a.u8"), 255);
  EXPECT_EQ(got.get_number("a.f32"), static_cast<double>(0.1f));
  EXPECT_EQ(got.get_number("a.i16"), -32768.0);
  EXPECT_TRUE(got.get_bool("a.bool"));
  EXPECT_EQ(got.strings("b.strings"), (std::vector<std::string_view>{"", "a", "Ġthe"}));
  EXPECT_EQ(got.integers("b.ints"), (std::vector<int64_t>{-1, 0, 7}));
  EXPECT_EQ(got.numbers("b.floats"), (std::vector<double>{0.5, -2.0}));
  EXPECT_EQ(got.get_string_or("c", "none"), "none");
  EXPECT_EQ(got.get_int_or("c", 3), 3);
  // The alignment is 64, the shapes are row-major.
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.find("x")->begin % 64, 0u);
  EXPECT_EQ(file.find("x")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values_of(file, "x"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of(file, "y"), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(file.find("z"), nullptr);
  EXPECT_EQ(file.map(*file.find("y")).size(), 6u);
}

TEST(Gguf, NamesTheKeyOfAWrongKind) {
  const GgufMetadata got =
      parse(
          GgufBuilder().set("s", "text").set("n", 7u).set("f", 0.5f).set("a", std::vector<int32_t>{1}).file())
          .metadata;
  EXPECT_EQ(error_of([&] { got.get_int("s"); }), "m.gguf: s is of kind string; it must be an integer");
  EXPECT_EQ(error_of([&] { got.get_int("f"); }), "m.gguf: f is of kind f32; it must be an integer");
  EXPECT_EQ(error_of([&] { got.get_string("n"); }), "m.gguf: n is of kind u32; it must be a string");
  EXPECT_EQ(error_of([&] { got.get_bool("n"); }), "m.gguf: n is of kind u32; it must be a boolean");
  EXPECT_EQ(error_of([&] { got.get_number("s"); }), "m.gguf: s is of kind string; it must be a number");
  EXPECT_EQ(error_of([&] { got.strings("n"); }), "m.gguf: n is of kind u32; it must be an array");
  EXPECT_EQ(error_of([&] { got.strings("a"); }), "m.gguf: a is an array of i32; it must be one of strings");
  EXPECT_EQ(error_of([&] { got.get_int("x"); }), "m.gguf: x is missing");
  const GgufMetadata big =
      parse(GgufBuilder().key("u", GgufKind::u64).raw<uint64_t>(~uint64_t{0}).file()).metadata;
  EXPECT_NE(error_of([&] { big.get_int("u"); }).find("u has the number 18446744073709551615"),
            std::string::npos);
  EXPECT_EQ(big.get_number("u"), 0x1p64);
}

GgufBuilder two_tensors() {
  GgufBuilder out;
  return out.set("general.architecture", "x")
      .tensor("a", {4, 2}, 0, 0)
      .tensor("b", {32}, 8, 32)
      .data(std::string(66, 'x'));
}

TEST(Gguf, ReadsVersionTwo) {
  const GgufHeader header = parse(two_tensors().version(2).file());
  EXPECT_EQ(header.version, 2u);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_EQ(header.tensors[1].type, GgufType::q8_0);
  EXPECT_EQ(header.tensors[1].begin, header.data_begin + 32);
  EXPECT_EQ(header.tensors[1].end - header.tensors[1].begin, 34u);
}

TEST(Gguf, RefusesEveryTruncation) {
  const std::string whole = two_tensors().set("b", std::vector<std::string>{"x", "y"}).file();
  EXPECT_NO_THROW(parse(whole));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string why = refusal(whole.substr(0, size));
    EXPECT_TRUE(why.starts_with("m.gguf: ")) << size << " bytes of " << whole.size() << ": " << why;
    EXPECT_EQ(why.find('\n'), std::string::npos);
  }
  EXPECT_EQ(refusal(whole.substr(0, 75)),
            "m.gguf: ends at byte 75, within key b: the file is truncated or damaged");
}

TEST(Gguf, RefusesOtherFiles) {
  EXPECT_EQ(refusal(""), "m.gguf: has 0 bytes: it is no GGUF file");
  EXPECT_EQ(refusal("<!DOCTYPE html>"),
            "m.gguf: begins with the bytes 3C 21 44 4F; a GGUF file begins with 47 47 55 46 (GGUF)");
  EXPECT_EQ(refusal(GgufBuilder().version(1).file()),
            "m.gguf: has GGUF version 1; versions 2 and 3 are read");
  EXPECT_EQ(refusal(GgufBuilder().version(4).file()),
            "m.gguf: has GGUF version 4; versions 2 and 3 are read");
  EXPECT_NE(refusal(GgufBuilder().version(0x03000000).file()).find("big-endian"), std::string::npos);
}

TEST(Gguf, RefusesLyingCounts) {
  EXPECT_NE(refusal(GgufBuilder().says_keys(~uint64_t{0}).file())
                .find("says that it has 18446744073709551615 keys"),
            std::string::npos);
  EXPECT_NE(refusal(GgufBuilder().says_keys(1000).file())
                .find("says that it has 1000 keys, more than its 24 bytes can hold"),
            std::string::npos);
  EXPECT_NE(refusal(GgufBuilder().says_tensors(1000).file()).find("1000 tensors, more than its"),
            std::string::npos);
  EXPECT_NE(refusal(GgufBuilder().says_tensors(~uint64_t{0}).file()).find("tensors; at most 1048576"),
            std::string::npos);
  EXPECT_NE(refusal(two_tensors().says_tensors(3).file()), "");
  // A string or an array that would be larger than the file takes no memory.
  EXPECT_NE(refusal(GgufBuilder().key("k", GgufKind::string).raw<uint64_t>(uint64_t{1} << 40).file())
                .find("key k has a string of 1099511627776 bytes"),
            std::string::npos);
  EXPECT_NE(
      refusal(GgufBuilder().key("k", GgufKind::string).raw<uint64_t>(1 << 29).file()).find("within key k"),
      std::string::npos);
  for (const GgufKind kind : {GgufKind::u8, GgufKind::f64, GgufKind::string, GgufKind::array}) {
    EXPECT_NE(refusal(GgufBuilder().array("k", kind, uint64_t{1} << 62).file())
                  .find("key k is an array of 4611686018427387904 elements"),
              std::string::npos);
  }
  const std::string name(70000, 'n');
  EXPECT_NE(refusal(GgufBuilder().set(name, 1u).file()).find("key 1 of 1 has a name of 70000 bytes"),
            std::string::npos);
}

TEST(Gguf, RefusesBadKeys) {
  EXPECT_EQ(refusal(GgufBuilder().set("k", 1u).set("k", 2u).file()), "m.gguf: key k appears twice");
  EXPECT_EQ(refusal(GgufBuilder().set("", 1u).file()), "m.gguf: key 1 of 1 has no name");
  EXPECT_EQ(refusal(GgufBuilder().key("k", static_cast<GgufKind>(13)).raw<uint32_t>(0).file()),
            "m.gguf: key k has kind 13; kinds 0 to 12 are known");
  EXPECT_EQ(refusal(GgufBuilder().key("k", GgufKind::boolean).raw<uint8_t>(2).file()),
            "m.gguf: key k has a boolean of 2; it must be 0 or 1");
  EXPECT_NE(refusal(GgufBuilder().key("k\n", static_cast<GgufKind>(99)).file()).find("key k? has kind 99"),
            std::string::npos);
  GgufBuilder deep;
  deep.key("k", GgufKind::array);
  for (int i = 0; i < 100; ++i) deep.raw<uint32_t>(9).raw<uint64_t>(1);
  EXPECT_EQ(refusal(deep.file()), "m.gguf: key k has arrays nested deeper than 8");
  for (const uint32_t bad : {0u, 24u, 1u << 30}) {
    EXPECT_NE(refusal(GgufBuilder().set("general.alignment", bad).file()).find("it must be a power of two"),
              std::string::npos)
        << bad;
  }
  EXPECT_EQ(refusal(GgufBuilder().set("general.alignment", "x").file()),
            "m.gguf: general.alignment is of kind string; it must be an integer");
}

TEST(Gguf, RefusesBadTensors) {
  const auto with = [](std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                       uint64_t offset) {
    return refusal(two_tensors().tensor(name, dims, type, offset).file());
  };
  EXPECT_EQ(with("a", {1}, 0, 0), "m.gguf: tensor a appears twice");
  EXPECT_EQ(with("", {1}, 0, 0), "m.gguf: tensor \"\" has no name");
  EXPECT_EQ(with("c", {4}, 0, 0), "m.gguf: tensor c overlaps tensor a");
  EXPECT_EQ(with("c", {4}, 0, 7),
            "m.gguf: tensor c begins at byte 7 of the data, no multiple of the alignment, 32");
  EXPECT_EQ(with("c", {4}, 0, 64),
            "m.gguf: tensor c takes 16 bytes from byte 64 of the data, and the file has 66: the file is "
            "truncated or damaged");
  EXPECT_NE(with("c", {4}, 0, ~uint64_t{0} - 31).find("and the file has 66"), std::string::npos);
  EXPECT_EQ(with("c", {1, 1, 1, 1, 1}, 0, 0), "m.gguf: tensor c has 5 dimensions; at most 4 are accepted");
  EXPECT_EQ(with("c", {1}, 4, 0), "m.gguf: tensor c has type 4, which is not known");
  EXPECT_EQ(with("c", {33}, 8, 0),
            "m.gguf: tensor c has rows of 33 elements, which are no whole number of Q8_0 blocks of 32");
  for (const std::vector<uint64_t>& dims :
       {std::vector<uint64_t>{uint64_t{1} << 32, uint64_t{1} << 32}, std::vector<uint64_t>{~uint64_t{0}},
        std::vector<uint64_t>{uint64_t{1} << 32, 0, uint64_t{1} << 33}}) {
    EXPECT_NE(with("c", dims, 0, 0).find("whose product is above 2^60"), std::string::npos);
  }
  EXPECT_EQ(with("c", {0, 5}, 0, 0), "");  // empty: it overlaps nothing
}

TEST(Gguf, ReadsAModelOfSeveralFiles) {
  for (const char* name : {"split-00001-of-00003.gguf", "split-00003-of-00003.gguf"}) {
    const GgufFile file(gguf_golden(name));
    EXPECT_EQ(file.metadata().get_string("general.name"), "three files");
    ASSERT_EQ(file.tensors().size(), 5u);
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(values_of(file, "t" + std::to_string(i)), std::vector<float>(8, static_cast<float>(i)));
    EXPECT_EQ(file.path(*file.find("t4")), gguf_golden("split-00003-of-00003.gguf"));
    EXPECT_EQ(file.path(), gguf_golden("split-00001-of-00003.gguf"));
  }
}

TEST(Gguf, RefusesWrongSplits) {
  TemporaryDirectory dir;
  const auto copy = [&](int from, int to) {
    std::filesystem::copy_file(gguf_golden("split-0000" + std::to_string(from) + "-of-00003.gguf"),
                               dir / ("split-0000" + std::to_string(to) + "-of-00003.gguf"),
                               std::filesystem::copy_options::overwrite_existing);
  };
  const auto open = [&](std::string_view name) {
    const std::string why = error_of([&] { GgufFile file(dir / name); });
    return why.starts_with(dir.path().string()) ? why.substr(dir.path().string().size() + 1) : why;
  };
  copy(1, 1);
  copy(2, 2);
  EXPECT_EQ(open("split-00001-of-00003.gguf").substr(0, 38), "split-00003-of-00003.gguf: is missing:");
  copy(1, 3);  // a circle
  EXPECT_EQ(open("split-00001-of-00003.gguf"),
            "split-00003-of-00003.gguf: split.no is 0; it must be 2, since the file's name says that it is "
            "file 3 of 3");
  copy(2, 3);
  EXPECT_NE(open("split-00001-of-00003.gguf").find("split.no is 1; it must be 2"), std::string::npos);
  std::filesystem::copy_file(gguf_golden("split-00001-of-00003.gguf"), dir / "other.gguf");
  EXPECT_EQ(open("other.gguf"),
            "other.gguf: split.count is 3, so the file must have a name such as NAME-00001-of-00003.gguf");
  std::filesystem::copy_file(gguf_golden("split-00001-of-00003.gguf"), dir / "x-00001-of-00002.gguf");
  EXPECT_EQ(open("x-00001-of-00002.gguf"),
            "x-00001-of-00002.gguf: split.count is 3, and the file's name says 2");
  const auto part = [](int no, std::string_view tensor, uint32_t all) {
    return GgufBuilder()
        .key("split.no", GgufKind::u16)
        .raw<uint16_t>(static_cast<uint16_t>(no))
        .key("split.count", GgufKind::u16)
        .raw<uint16_t>(2)
        .set("split.tensors.count", all)
        .tensor(tensor, {1}, 0, 0)
        .data("abcd")
        .file();
  };
  put(dir / "y-00001-of-00002.gguf", part(0, "t", 2));
  put(dir / "y-00002-of-00002.gguf", part(1, "t", 2));
  EXPECT_EQ(open("y-00001-of-00002.gguf"), "y-00002-of-00002.gguf: tensor t appears in " +
                                               (dir / "y-00001-of-00002.gguf").string() + " too");
  put(dir / "y-00001-of-00002.gguf", part(0, "s", 3));
  EXPECT_EQ(open("y-00002-of-00002.gguf"),
            "y-00001-of-00002.gguf: split.tensors.count is 3, and the 2 files have 2 tensors: a file is of "
            "another model");
  put(dir / "z.gguf", GgufBuilder().set("split.count", 200000u).file());
  EXPECT_EQ(open("z.gguf"), "z.gguf: split.count is 200000; it must be between 1 and 99999");
}

TEST(Gguf, AFileThatIsShortenedWhileItIsReadIsAnError) {
  TemporaryDirectory dir;
  put(dir / "m.gguf", two_tensors().file());
  const GgufFile file(dir / "m.gguf");
  std::filesystem::resize_file(dir / "m.gguf", 100);
  EXPECT_NE(error_of([&] { values_of(file, "b"); }).find("m.gguf: tensor b: the file was cut"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.map(*file.find("b")); }).find("the file was changed"), std::string::npos);
}

TEST(Gguf, AHeaderLargerThanTheFirstReadIsReadWhole) {
  TemporaryDirectory dir;
  std::vector<std::string> tokens;
  for (int i = 0; i < 300000; ++i) tokens.push_back("token " + std::to_string(i));
  put(dir / "m.gguf",
      GgufBuilder().set("tokens", tokens).set("last", 5u).tensor("t", {1}, 0, 0).data("abcd").file());
  const GgufFile file(dir / "m.gguf");
  const std::vector<std::string_view> got = file.metadata().strings("tokens");
  EXPECT_TRUE(std::ranges::equal(got, tokens));
  EXPECT_EQ(file.metadata().get_int("last"), 5);
}

}  // namespace
}  // namespace r1::gguf_test
