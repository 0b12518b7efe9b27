// formats/tfevents.h: TensorBoard's event files, as far as scalars need them.
//
// A file is a sequence of TFRecords, little endian:
//   u64 length, u32 masked crc32c of those 8 bytes, the data, u32 masked crc32c of the data
//   masked(c) = rotate right by 15 of c, + 0xa282ead8
// The data is a protobuf message, with these fields (number, type):
//   Event    wall_time (1, double), step (2, int64), file_version (3, string), summary (5), session_log (7)
//   summary  a list (1) of tag (1, string) and simple_value (2, float: f32, so 24 bits)
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "formats/json.h"

namespace r1 {

// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes);

std::string tf_record(std::string_view data);

// Writes DIRECTORY/events.out.tfevents.<unix time>.r1, which is opened with the first row: a run without rows
// leaves no file. Each process writes its own file, which begins with "session started at step N". That makes
// TensorBoard forget what a killed process wrote from that step on.
class TfEventsWriter {
 public:
  explicit TfEventsWriter(const std::filesystem::path& directory) : directory_(directory) {}

  // Takes a row of metrics.jsonl. Every number in it except "step" becomes a scalar of that name at
  // row["step"]. The bytes go to the system at once. Throws Error.
  void write(const Json& row);
  void close();

 private:
  void open(int64_t step, double unix_time);

  std::filesystem::path directory_;
  std::optional<FileWriter> out_;
};

}  // namespace r1
