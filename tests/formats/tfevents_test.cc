// An independent decoder (tfevents_reader.h) reads back what was written.
#include "formats/tfevents.h"

#include "tests/formats/formats_test_util.h"
#include "tests/formats/tfevents_reader.h"

namespace r1::tfevents_test {
namespace {

using test::Event;
using test::event_files;
using test::event_of;
using test::records_of;

TEST(Crc32c, MatchesThePublishedVectors) {
  std::string ascending, descending;
  for (int i = 0; i < 32; ++i) {
    ascending += static_cast<char>(i);
    descending += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(crc32c(descending), 0x113fdb5cu);
}

TEST(TfRecord, FramesDataWithLengthAndTwoMaskedSums) {
  for (const std::string& data : {std::string(), std::string("x"), std::string(300, '\x80')}) {
    const std::string record = tf_record(data);
    ASSERT_EQ(record.size(), data.size() + 16);
    EXPECT_EQ(records_of(record), std::vector<std::string>{data});
  }
  // The empty record follows from the format's definition alone: crc32c is 0x8c28b28a for eight zero bytes
  // and 0 for none.
  EXPECT_EQ(tf_record(""), std::string("\0\0\0\0\0\0\0\0", 8) + "\x29\x03\x98\x07" + "\xd8\xea\x82\xa2");
}

TEST(TfEvents, HoldEveryNumberOfARowAtItsStep) {
  const TemporaryDirectory directory;
  TfEventsWriter out(directory.path());
  EXPECT_TRUE(event_files(directory.path()).empty()) << "a file before there is a row";
  out.write(parse_json(R"({"step":1,"loss":0.25,"tokens":4096,"note":"text","none":null,"on":true})", "row"));
  out.write(parse_json(R"({"step":300,"loss":-1.5e-7,"tokens":16777216})", "row"));
  // Both rows are in the file although the writer is still open.
  const auto files = event_files(directory.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_TRUE(files[0].filename().string().starts_with("events.out.tfevents."));
  EXPECT_EQ(files[0].extension(), ".r1");
  const std::vector<std::string> records = records_of(read_file(files[0]));
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(event_of(records[0]).version, "brain.Event:2");
  const Event start = event_of(records[1]);
  EXPECT_EQ(start.step, 1);
  EXPECT_EQ(start.session, std::string("\x08\x01"));
  const Event one = event_of(records[2]), two = event_of(records[3]);
  EXPECT_EQ(one.step, 1);
  EXPECT_EQ(one.scalars, (std::map<std::string, float>{{"loss", 0.25f}, {"tokens", 4096.0f}}));
  EXPECT_EQ(two.step, 300);
  EXPECT_EQ(two.scalars, (std::map<std::string, float>{{"loss", -1.5e-7f}, {"tokens", 16777216.0f}}));
  EXPECT_GT(one.wall_time, 1.7e9);
  EXPECT_GT(two.wall_time, 1.7e9);
}

TEST(TfEvents, EachWriterHasAFileOfItsOwn) {
  const TemporaryDirectory directory;
  for (const char* row : {R"({"step":1,"loss":1.0})", R"({"step":2,"loss":2.0})"}) {
    TfEventsWriter out(directory.path());
    out.write(parse_json(row, "row"));
    out.close();
  }
  const auto files = event_files(directory.path());
  ASSERT_EQ(files.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const auto records = records_of(read_file(files[i]));
    ASSERT_EQ(records.size(), 3u);
    EXPECT_EQ(event_of(records[1]).step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(event_of(records[2]).scalars.at("loss"), static_cast<float>(i + 1));
  }
}

TEST(TfEvents, DirectoryThatIsNotThereIsOneClearLine) {
  const TemporaryDirectory directory;
  TfEventsWriter out(directory / "missing");
  const std::string error = error_of([&] { out.write(parse_json(R"({"step":1,"loss":1.0})", "row")); });
  EXPECT_NE(error.find("missing/events.out.tfevents."), std::string::npos) << error;
}

}  // namespace
}  // namespace r1::tfevents_test
