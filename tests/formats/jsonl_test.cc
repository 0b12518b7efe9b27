#include "formats/jsonl.h"

#include <gtest/gtest.h>

#include "tests/formats/formats_test_util.h"

namespace r1 {
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

}  // namespace
}  // namespace r1
