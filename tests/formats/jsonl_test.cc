#include "formats/jsonl.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "tests/formats/formats_test_util.h"

namespace r1::jsonl_test {
namespace {

TEST(Jsonl, ABadRowDoesNotStopTheRest) {
  TemporaryDirectory dir;
  put(dir / "f.jsonl", "{\"a\": 1}\n\n{\"a\": }\r\n  \t\r\n{\"a\": \"x\"}\r\n[1]");
  const std::string path = (dir / "f.jsonl").string();
  JsonlReader reader(path);
  std::vector<JsonlRow> rows;
  for (JsonlRow row; reader.next(row);) rows.push_back(std::move(row));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].value.get_int("a"), 1);
  EXPECT_EQ(rows[0].line, 1);
  EXPECT_TRUE(rows[1].error.starts_with(path + ":3: offset 6: ")) << rows[1].error;
  EXPECT_TRUE(rows[1].value.is_null());
  EXPECT_EQ(rows[1].row, 1);
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_EQ(rows[2].line, 5);
  EXPECT_EQ(rows[2].error, "");
  EXPECT_EQ(error_of([&] { rows[2].value.get_int("a"); }),
            path + ":5: a is a string; it must be an integer of 64 bits");
  EXPECT_EQ(rows[3].value.at(0).integer(), 1);  // no newline at the end
  EXPECT_TRUE(error_of([&] { read_jsonl(path); }).starts_with(path + ":3: "));
}

TEST(Jsonl, WritesOneObjectALineAndReadsItBack) {
  TemporaryDirectory dir;
  const std::filesystem::path path = dir / "f.jsonl";
  std::vector<Json> rows;
  for (int i = 0; i < 100; ++i)
    rows.push_back(Json::object().set("i", i).set("text", "two\nlines").set("x", i / 7.0));
  JsonlWriter writer(path);
  for (int i = 0; i < 60; ++i) writer.write(rows[static_cast<size_t>(i)]);
  writer.close();
  JsonlWriter more(path, FileWriter::Mode::append);
  for (int i = 60; i < 100; ++i) more.write(rows[static_cast<size_t>(i)]);
  more.close();
  EXPECT_EQ(read_jsonl(path), rows);
  EXPECT_EQ(read_lines(path).size(), 100u);
}

TEST(Jsonl, AnEmptyFileHasNoRows) {
  TemporaryDirectory dir;
  put(dir / "f.jsonl", "");
  EXPECT_TRUE(read_jsonl(dir / "f.jsonl").empty());
  EXPECT_NE(error_of([&] { read_jsonl(dir / "none.jsonl"); }).find("none.jsonl"), std::string::npos);
}

void pack(const std::filesystem::path& path, std::string_view text, const char* mode = "wb") {
  const gzFile file = gzopen(path.c_str(), mode);
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

// Rows whose lengths straddle every window of the reader: 1 byte to 1 MiB.
std::string many_rows() {
  std::string text;
  for (int i = 0; i < 3000; ++i)
    text +=
        Json::object().set("i", i).set("x", std::string(static_cast<size_t>(i) * 7 % 997, 'x')).dump() + "\n";
  text += Json::object().set("i", 3000).set("x", std::string(size_t{1} << 20, 'y')).dump() + "\n\n";
  return text + "{\"i\": 3001, \"x\": \"\"}";
}

TEST(Jsonl, AGzipFileHasTheRowsOfItsTextWhateverItsName) {
  TemporaryDirectory dir;
  const std::string text = many_rows();
  put(dir / "plain.jsonl", text);
  pack(dir / "packed.jsonl.gz", text);
  pack(dir / "packed.jsonl", text);
  const std::vector<Json> rows = read_jsonl(dir / "plain.jsonl");
  ASSERT_EQ(rows.size(), 3002u);
  EXPECT_EQ(read_jsonl(dir / "packed.jsonl.gz"), rows);
  EXPECT_EQ(read_jsonl(dir / "packed.jsonl"), rows);
}

TEST(Jsonl, AGzipFileOfSeveralMembersIsOneText) {
  TemporaryDirectory dir;
  pack(dir / "f.gz", "{\"i\": 1}\n{\"i\"");
  pack(dir / "f.gz", ": 2}\n", "ab");
  const std::vector<Json> rows = read_jsonl(dir / "f.gz");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].get_int("i"), 2);
}

TEST(Jsonl, LinesOfAGzipFileAreNamedAsInItsText) {
  TemporaryDirectory dir;
  pack(dir / "f.gz", "{\"i\": 1}\n\n{\"i\": }\n");
  const std::string path = (dir / "f.gz").string();
  EXPECT_TRUE(error_of([&] { read_jsonl(path); }).starts_with(path + ":3: offset 6: "));
}

TEST(Jsonl, ADamagedGzipFileIsOneClearError) {
  TemporaryDirectory dir;
  pack(dir / "f.gz", many_rows());
  const std::string bytes = read_file(dir / "f.gz");
  for (const size_t size : {size_t{2}, size_t{9}, bytes.size() / 2, bytes.size() - 4}) {
    put(dir / "cut.gz", std::string_view(bytes).substr(0, size));
    EXPECT_EQ(error_of([&] { read_jsonl(dir / "cut.gz"); }),
              (dir / "cut.gz").string() + ": the gzip data is cut short: fetch or pack the file again")
        << size;
  }
  std::string changed = bytes;
  changed[bytes.size() / 2] = static_cast<char>(changed[bytes.size() / 2] ^ 0x10);
  put(dir / "bad.gz", changed);
  EXPECT_NE(error_of([&] { read_jsonl(dir / "bad.gz"); }), "");
  changed = bytes;
  changed[bytes.size() - 6] = static_cast<char>(changed[bytes.size() - 6] ^ 1);  // the checksum
  put(dir / "sum.gz", changed);
  EXPECT_NE(error_of([&] { read_jsonl(dir / "sum.gz"); }).find("the gzip data is damaged"),
            std::string::npos);
}

TEST(Jsonl, ItsContentHashIsThatOfTheFile) {
  TemporaryDirectory dir;
  pack(dir / "f.gz", "{}");
  put(dir / "f.jsonl", "{}\n");
  EXPECT_EQ(JsonlReader(dir / "f.gz").content_sha256(), sha256_hex(read_file(dir / "f.gz")));
  EXPECT_EQ(JsonlReader(dir / "f.jsonl").content_sha256(), sha256_hex("{}\n"));
}

std::vector<JsonlRow> rows_of(const std::filesystem::path& path) {
  JsonlReader reader(path);
  std::vector<JsonlRow> rows;
  for (JsonlRow row; reader.next(row);) rows.push_back(std::move(row));
  return rows;
}

TEST(Jsonl, AJsonArrayIsReadElementByElement) {
  TemporaryDirectory dir;
  const std::string text =
      "\n[\n  {\"a\": \"],[{\\\"\\\\\"},\n  {\n  \"a\": [1, {\"b\": []}]\n  },\n 7 , \"x\"\n]\n";
  put(dir / "f.json", text);
  pack(dir / "f.json.gz", text);
  for (const char* name : {"f.json", "f.json.gz"}) {
    const std::vector<JsonlRow> rows = rows_of(dir / name);
    ASSERT_EQ(rows.size(), 4u);
    for (const JsonlRow& row : rows) EXPECT_EQ(row.error, "");
    EXPECT_EQ(rows[0].value.get_string("a"), "],[{\"\\");
    EXPECT_EQ(rows[0].line, 3);
    EXPECT_EQ(rows[1].value.at("a").size(), 2u);
    EXPECT_EQ(rows[1].line, 4);
    EXPECT_EQ(rows[2].value.integer(), 7);
    EXPECT_EQ(rows[3].value.string(), "x");
    EXPECT_EQ(rows[3].line, 7);
  }
  put(dir / "none.json", " [ ] ");
  EXPECT_TRUE(rows_of(dir / "none.json").empty());
  put(dir / "lines.json", "{\"a\": 1}\n{\"a\": 2}\n");
  EXPECT_EQ(rows_of(dir / "lines.json").size(), 2u) << "a .json file of lines is read as lines";
  put(dir / "lines.jsonl", "[1]\n[2]\n");
  EXPECT_EQ(rows_of(dir / "lines.jsonl").size(), 2u) << "lines that are arrays stay lines";
}

TEST(Jsonl, AnArrayThatIsBrokenNamesTheLine) {
  TemporaryDirectory dir;
  const auto last_error = [&](const std::string& text) {
    put(dir / "f.json", text);
    const std::vector<JsonlRow> rows = rows_of(dir / "f.json");
    return rows.empty() ? "no rows" : rows.back().error;
  };
  const std::string path = (dir / "f.json").string();
  EXPECT_EQ(last_error("[{\"a\": 1},\n"), path + ":2: the file ends before its array does");
  EXPECT_EQ(last_error("[1]\n2"), path + ":2: there is text behind the end of the array");
  EXPECT_TRUE(last_error("[1,\n]").starts_with(path + ":2: "));
  EXPECT_TRUE(last_error("[1,\n{\"a\":: 1}]").starts_with(path + ":2: "));
  put(dir / "f.json", "[1, nonsense, 3]");
  const std::vector<JsonlRow> rows = rows_of(dir / "f.json");
  ASSERT_EQ(rows.size(), 3u) << "a bad element spoils itself alone";
  EXPECT_NE(rows[1].error, "");
  EXPECT_EQ(rows[2].value.integer(), 3);
}

}  // namespace
}  // namespace r1::jsonl_test
