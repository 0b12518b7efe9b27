// r1 convert, quantize and imatrix, as a user types them.
#include <gtest/gtest.h>

#include "formats/gguf_file.h"
#include "recipe/schema.h"
#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"

namespace r1::convert_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

// A llama model that blocks of 32 fit, with a tokenizer that GGUF has a name for (GPT-2's).
std::string model_directory() {
  static const std::string path = [] {
    const std::filesystem::path folder = scratch() / "convertible";
    std::filesystem::create_directories(folder);
    Json added = Json::array(), special = Json::object();
    special.set("id", 0).set("content", "<s>").set("special", true).set("normalized", false);
    added.push_back(special);
    added.push_back(Json(special).set("id", 1).set("content", "</s>"));
    Json vocab = Json::object().set("<s>", 0).set("</s>", 1);
    int id = 2;
    for (const char c : std::string("abcdefghijklmnopqrstuvwxyz")) vocab.set(std::string(1, c), id++);
    vocab.set("th", id++);
    Json merges = Json::array().push_back(Json::array().push_back("t").push_back("h"));
    Json bpe = Json::object();
    bpe.set("type", "BPE").set("vocab", vocab).set("merges", merges);
    Json bytes = Json::object();
    bytes.set("type", "ByteLevel")
        .set("add_prefix_space", false)
        .set("trim_offsets", true)
        .set("use_regex", true);
    Json tokenizer = Json::object();
    tokenizer.set("version", "1.0")
        .set("added_tokens", added)
        .set("normalizer", nullptr)
        .set("pre_tokenizer", bytes);
    tokenizer.set("post_processor", nullptr).set("decoder", bytes).set("model", bpe);
    write("convertible/tokenizer.json", tokenizer.dump());
    Json config = Json::object();
    config.set("bos_token", "<s>").set("eos_token", "</s>");
    config.set("chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}");
    write("convertible/tokenizer_config.json", config.dump());
    write("convertible/generation_config.json",
          Json::object().set("temperature", 0.5).set("top_k", 7).set("do_sample", true).dump());
    Json sizes = test::llama_config(id);
    sizes.set("intermediate_size", 64);
    Model::create(read_model_config(parse_json(sizes.dump(), "config")), 11).save(folder, DType::f32);
    return folder.string();
  }();
  return path;
}

std::string out(const std::string& name) {
  return (scratch() / name).string();
}

void expect_valid(const std::string& schema, const std::string& text) {
  const Json wanted = schema_of(schema);
  EXPECT_EQ(test::SchemaValidator(wanted).check(parse_json(text, schema)), "") << text;
}

#define EXPECT_REFUSED(result, words)                         \
  do {                                                        \
    const auto& r = (result);                                 \
    EXPECT_EQ(r.status, 2) << r.err;                          \
    EXPECT_EQ(std::ranges::count(r.err, '\n'), 1) << r.err;   \
    EXPECT_NE(r.err.find(words), std::string::npos) << r.err; \
  } while (false)

TEST(CliConvert, ADirectoryBecomesAGgufFileThatAnswersAlike) {
  const auto made = r1_run({"convert", model_directory(), out("directory.gguf"), "--json"});
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.err, "");
  expect_valid("convert-output", made.out);
  const std::vector<std::string> ask = {"-p", "the cat", "--json", "--max-tokens", "12", "--seed", "4"};
  std::vector<std::string> one = {"run", model_directory()}, two = {"run", out("directory.gguf")};
  one.insert(one.end(), ask.begin(), ask.end());
  two.insert(two.end(), ask.begin(), ask.end());
  const auto a = r1_run(one), b = r1_run(two);
  ASSERT_EQ(a.status, 0) << a.err;
  ASSERT_EQ(b.status, 0) << b.err;
  const Json x = parse_json(a.out, "a"), y = parse_json(b.out, "b");
  EXPECT_EQ(x.at("tokens").dump(), y.at("tokens").dump());  // the sampling settings are the directory's
  EXPECT_EQ(x.at("usage").dump(), y.at("usage").dump());
  const auto back = r1_run({"convert", out("directory.gguf"), out("back"), "--json"});
  ASSERT_EQ(back.status, 0) << back.err;
  expect_valid("convert-output", back.out);
  two[1] = out("back");
  const auto c = r1_run(two);
  ASSERT_EQ(c.status, 0) << c.err;
  EXPECT_EQ(parse_json(c.out, "c").at("tokens").dump(), x.at("tokens").dump());
}

TEST(CliConvert, QuantisingOnLoadScoresAsTheQuantisedFile) {
  ASSERT_EQ(r1_run({"quantize", model_directory(), out("q8.gguf"), "--type", "q8_0"}).status, 0);
  const std::string rows = write("rows.jsonl", R"({"tokens": [2, 3, 4, 5, 6, 7, 8], "from": 1})");
  for (const char* dtype : {"f32", "bf16"}) {
    const auto a = r1_run({"score", out("q8.gguf"), "--input", rows, "--dtype", dtype}),
               b = r1_run(
                   {"score", model_directory(), "--quantize", "Q8_0", "--input", rows, "--dtype", dtype}),
               c = r1_run({"score", model_directory(), "--input", rows, "--dtype", dtype});
    ASSERT_EQ(a.status, 0) << a.err;
    EXPECT_EQ(a.out, b.out);
    EXPECT_NE(a.out, c.out);
  }
  // The numerics by default is that of the file, too.
  EXPECT_EQ(r1_run({"score", out("q8.gguf"), "--input", rows}).out,
            r1_run({"score", model_directory(), "--quantize", "Q8_0", "--input", rows}).out);
  EXPECT_REFUSED(r1_run({"score", model_directory(), "--quantize", "Q8", "--input", rows}),
                 "--quantize Q8: there is no such type (did you mean Q8_0?)");
}

TEST(CliConvert, AnImatrixGuidesTheQuantiser) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the quick brown fox ";
  const std::string file = write("text.txt", text);
  const auto made = r1_run({"imatrix", model_directory(), "--input", file, "-o", out("i.gguf"), "--chunk",
                            "64", "--chunks", "3", "--json"});
  ASSERT_EQ(made.status, 0) << made.err;
  expect_valid("imatrix-output", made.out);
  EXPECT_EQ(parse_json(made.out, "made").get_int("tokens"), 192);
  const GgufFile matrix(out("i.gguf"));
  EXPECT_EQ(matrix.metadata().get_string("general.type"), "imatrix");
  EXPECT_EQ(matrix.metadata().get_int("imatrix.chunk_count"), 3);
  std::vector<float> counts(1), sums(32);
  read_as_f32(matrix, *matrix.find("blk.0.attn_q.weight.counts"), counts);
  read_as_f32(matrix, *matrix.find("blk.0.attn_q.weight.in_sum2"), sums);
  EXPECT_EQ(counts[0], 192.0f);
  // The input of attn_q is normed, so its mean square is 1.
  double all = 0;
  for (const float v : sums) all += static_cast<double>(v);
  EXPECT_NEAR(all / 32 / 192, 1.0, 0.02);
  EXPECT_NE(matrix.find("output.weight.in_sum2"), nullptr);
  const auto plain = r1_run({"quantize", model_directory(), out("a.gguf"), "--type", "Q4_0", "--json"}),
             guided = r1_run({"quantize", model_directory(), out("b.gguf"), "--type", "Q4_0", "--imatrix",
                              out("i.gguf"), "--json"});
  ASSERT_EQ(plain.status, 0) << plain.err;
  ASSERT_EQ(guided.status, 0) << guided.err;
  expect_valid("quantize-output", plain.out);
  EXPECT_NE(read_file(out("a.gguf")), read_file(out("b.gguf")));
  // The rows may be tokens or conversations, too.
  const std::string rows =
      write("rows2.jsonl", R"({"tokens": [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9]}
{"messages": [{"role": "user", "content": "the quick brown fox"}]}
{"text": "the"}
)");
  EXPECT_EQ(
      r1_run({"imatrix", model_directory(), "--input", rows, "-o", out("r.gguf"), "--chunk", "16"}).status,
      0);
  // Another model's.
  const auto other = r1_run({"quantize", R1_SOURCE_DIR "/models/r1-nano", out("c.gguf"), "--type", "Q4_0",
                             "--no-tokenizer", "--imatrix", out("i.gguf")});
  EXPECT_EQ(other.status, 2);  // after notes about the model
  EXPECT_NE(other.err.find("it was made with another model"), std::string::npos) << other.err;
  EXPECT_FALSE(std::filesystem::exists(out("c.gguf")));
  EXPECT_REFUSED(
      r1_run({"quantize", model_directory(), out("c.gguf"), "--type", "Q4_0", "--imatrix", out("a.gguf")}),
      "is a GGUF file of type model; an importance matrix");
  EXPECT_REFUSED(
      r1_run({"imatrix", model_directory(), "--input", write("short.txt", "the"), "-o", out("s.gguf")}),
      "fewer than one chunk");
}

TEST(CliConvert, OutputsAreNotReplacedByAccident) {
  ASSERT_EQ(r1_run({"convert", model_directory(), out("kept.gguf")}).status, 0);
  const std::string before = read_file(out("kept.gguf"));
  EXPECT_REFUSED(r1_run({"convert", model_directory(), out("kept.gguf")}),
                 "kept.gguf: exists: give --force to replace it");
  EXPECT_REFUSED(r1_run({"quantize", out("kept.gguf"), out("kept.gguf"), "--type", "Q8_0", "--force"}),
                 "kept.gguf: is the input: give the output another name");
  EXPECT_REFUSED(r1_run({"convert", model_directory(), model_directory(), "--force"}), "is the input");
  EXPECT_EQ(read_file(out("kept.gguf")), before);
  EXPECT_EQ(r1_run({"quantize", model_directory(), out("kept.gguf"), "--type", "Q8_0", "--force"}).status, 0);
  EXPECT_NE(read_file(out("kept.gguf")), before);
  std::filesystem::create_directories(scratch() / "mine");
  write("mine/notes.txt", "x");
  EXPECT_REFUSED(r1_run({"convert", model_directory(), out("mine"), "--force"}),
                 "it is no model: --force replaces only models");
}

TEST(CliConvert, TheMtpHeadOfAGgufFileIsAskedFor) {
  const std::string model = R1_SOURCE_DIR "/tests/golden/models-mtp";
  const auto plain = r1_run({"convert", model, out("mtp.gguf"), "--no-tokenizer"});
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_NE(plain.err.find("layer 2, the MTP head, is left out"), std::string::npos) << plain.err;
  EXPECT_NE(plain.err.find("--keep-mtp keeps it for r1"), std::string::npos) << plain.err;
  const auto kept =
      r1_run({"quantize", model, out("kept-mtp.gguf"), "--type", "BF16", "--no-tokenizer", "--keep-mtp"});
  EXPECT_EQ(kept.status, 0) << kept.err;
  EXPECT_EQ(kept.err.find("left out"), std::string::npos) << kept.err;
  EXPECT_GT(std::filesystem::file_size(out("kept-mtp.gguf")),
            std::filesystem::file_size(out("mtp.gguf")) / 2);
  EXPECT_REFUSED(r1_run({"convert", model_directory(), out("x.gguf"), "--keep-mtp"}),
                 "has no MTP head: leave out --keep-mtp");
  EXPECT_REFUSED(r1_run({"convert", model, out("folder"), "--keep-mtp"}),
                 "a directory always keeps the MTP head");
  EXPECT_REFUSED(r1_run({"convert", out("kept-mtp.gguf"), out("x.gguf"), "--keep-mtp"}), "is kept anyway");
  EXPECT_REFUSED(
      r1_run({"quantize", model, out("x.gguf"), "--type", "Q8_0", "--keep-mtp", "--imatrix", out("i.gguf")}),
      "--keep-mtp: an importance matrix has no sums for the MTP head");
}

TEST(CliConvert, BadInputIsOneLine) {
  EXPECT_REFUSED(r1_run({"quantize", model_directory(), out("x.gguf"), "--type", "Q9_9"}),
                 "--type Q9_9: there is no such type");
  EXPECT_REFUSED(r1_run({"quantize", model_directory(), out("x.bin"), "--type", "Q8_0"}),
                 "its name must end in .gguf");
  EXPECT_REFUSED(r1_run({"convert", model_directory(), out("x.gguf"), "--dtype", "q8"}),
                 "--dtype q8: r1 convert writes f32, bf16 and f16");
  EXPECT_REFUSED(r1_run({"convert", model_directory(), out("no/such/x.gguf")}), "does not exist");
  EXPECT_REFUSED(r1_run({"convert", R1_SOURCE_DIR "/models/r1-nano", out("nano.gguf")}),
                 "give --no-tokenizer");
  EXPECT_EQ(r1_run({"convert", R1_SOURCE_DIR "/models/r1-nano", out("nano.gguf"), "--no-tokenizer"}).status,
            0);
  ASSERT_EQ(r1_run({"convert", model_directory(), out("whole.gguf")}).status, 0);
  const std::string whole = read_file(out("whole.gguf"));
  const std::string cut = write("cut.gguf", whole.substr(0, whole.size() - 100));
  EXPECT_REFUSED(r1_run({"quantize", cut, out("y.gguf"), "--type", "Q8_0"}),
                 "the file is truncated or damaged");
  if (std::filesystem::exists("/dev/full")) {
    std::filesystem::create_symlink("/dev/full", scratch() / "full.gguf");
    EXPECT_REFUSED(r1_run({"convert", model_directory(), out("full.gguf")}), "no space left on the device");
  }
}

}  // namespace
}  // namespace r1::convert_test
