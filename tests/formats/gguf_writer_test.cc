// The parser reads the files that the writer writes.
#include "formats/gguf_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "formats/gguf_file.h"
#include "tests/formats/formats_test_util.h"

namespace r1::gguf_writer_test {
namespace {

std::string test_file(std::string_view name) {
  return std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/" + std::string(name);
}

TEST(GgufWriter, KeysOfEveryKindComeBack) {
  const GgufFile from(test_file("metadata.gguf"));
  GgufKeys keys;
  for (const std::string_view key : from.metadata().keys()) {
    if (key != "general.alignment") keys.copy(from.metadata(), key);
  }
  const std::vector<std::string> words = {"a", "", "Ġthe"};
  const std::vector<int32_t> numbers = {-1, 0, 7};
  keys.set("n.string", "x").set("n.bool", true).set("n.u32", 4000000000u).set("n.f32", 0.5f);
  keys.set_signed("n.i32", -5).set("n.words", words).set("n.numbers", numbers);
  TemporaryDirectory dir;
  GgufWriter(dir / "out.gguf", keys, {}).close();
  const GgufFile got(dir / "out.gguf");
  for (const std::string_view key : from.metadata().keys()) {
    if (key == "general.alignment") continue;
    EXPECT_EQ(got.metadata().json(key).dump(), from.metadata().json(key).dump()) << key;
  }
  EXPECT_EQ(got.metadata().get_string("n.string"), "x");
  EXPECT_TRUE(got.metadata().get_bool("n.bool"));
  EXPECT_EQ(got.metadata().get_int("n.u32"), 4000000000);
  EXPECT_EQ(got.metadata().get_number("n.f32"), 0.5);
  EXPECT_EQ(got.metadata().get_int("n.i32"), -5);
  EXPECT_EQ(got.metadata().strings("n.words").at(2), "Ġthe");
  EXPECT_EQ(got.metadata().integers("n.numbers"), (std::vector<int64_t>{-1, 0, 7}));
}

TEST(GgufWriter, AKeyThatIsSetAgainKeepsItsPlace) {
  GgufKeys keys;
  keys.set("a", "1").set("b", "2").set("a", "3");
  keys.remove("c");
  TemporaryDirectory dir;
  GgufWriter(dir / "out.gguf", keys, {}).close();
  const GgufFile got(dir / "out.gguf");
  EXPECT_EQ(got.metadata().keys(), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(got.metadata().get_string("a"), "3");
}

TEST(GgufWriter, TensorsComeBackAlignedAndInAnyPieces) {
  const std::vector<float> odd = {1, 2, 3}, matrix = {1, 2, 3, 4, 5, 6};
  TemporaryDirectory dir;
  {
    GgufWriter out(dir / "out.gguf", GgufKeys(),
                   {{"odd", GgufType::f32, {3}},
                    {"none", GgufType::f32, {0, 4}},
                    {"m", GgufType::f32, {2, 3}},
                    {"blocks", GgufType::q8_0, {2, 32}}});
    out.write("odd", std::as_bytes(std::span(odd).first(1)));
    out.write("odd", std::as_bytes(std::span(odd).subspan(1)));
    out.write("m", std::as_bytes(std::span(matrix)));
    out.write("blocks", std::vector<std::byte>(2 * 34, std::byte{1}));
    out.close();
  }
  const GgufFile got(dir / "out.gguf");
  ASSERT_EQ(got.tensors().size(), 4u);
  for (const GgufTensor& tensor : got.tensors()) EXPECT_EQ(tensor.begin % 32, 0u) << tensor.name;
  std::vector<float> back(6);
  read_as_f32(got, *got.find("m"), back);
  EXPECT_EQ(back, matrix);
  EXPECT_EQ(got.find("m")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(got.find("blocks")->end - got.find("blocks")->begin, 68u);
}

TEST(GgufWriter, TheFileAppearsWholeOrNotAtAll) {
  TemporaryDirectory dir;
  put(dir / "out.gguf", "before");
  {
    GgufWriter out(dir / "out.gguf", GgufKeys(), {{"m", GgufType::f32, {1}}});
    EXPECT_TRUE(std::filesystem::exists((dir / "out.gguf").string() + ".r1-tmp"));
  }  // not closed
  EXPECT_FALSE(std::filesystem::exists((dir / "out.gguf").string() + ".r1-tmp"));
  EXPECT_EQ(std::filesystem::file_size(dir / "out.gguf"), 6u);
}

TEST(GgufWriter, RefusesWhatAFileCannotHold) {
  TemporaryDirectory dir;
  const std::string path = (dir / "out.gguf").string();
  const auto refusal = [&](std::vector<GgufWriter::Declared> tensors) {
    const std::string why = error_of([&] { GgufWriter(path, GgufKeys(), std::move(tensors)); });
    return why.starts_with(path) ? why.substr(path.size() + 2) : why;
  };
  EXPECT_EQ(refusal({{"a", GgufType::f32, {1}}, {"a", GgufType::f32, {2}}}), "tensor a appears twice");
  EXPECT_EQ(refusal({{"a", GgufType::q4_k, {2, 128}}}),
            "tensor a has rows of 128 elements, which are no whole number of Q4_K blocks of 256");
  EXPECT_EQ(refusal({{"a", GgufType::f32, {1, 1, 1, 1, 1}}}),
            "tensor a has 5 dimensions; GGUF holds at most 4");
  EXPECT_EQ(
      error_of([&] { GgufWriter(dir / "no/out.gguf", GgufKeys(), {}); }),
      fmt::format("{}: the folder {} does not exist", (dir / "no/out.gguf").string(), (dir / "no").string()));
  if (std::filesystem::exists("/dev/full")) {
    const std::string full = error_of([&] {
      GgufWriter out("/dev/full", GgufKeys(), {{"m", GgufType::f32, {1}}});
      out.write("m", std::vector<std::byte>(4));
      out.close();
    });
    EXPECT_NE(full.find("/dev/full: no space left on the device"), std::string::npos) << full;
  }
}

}  // namespace
}  // namespace r1::gguf_writer_test
