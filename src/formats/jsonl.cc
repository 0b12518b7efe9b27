#include "formats/jsonl.h"

#include <fmt/format.h>

#include "base/error.h"

namespace r1 {

JsonlReader::JsonlReader(const std::filesystem::path& path) : path_(path.string()) {
  std::error_code ignored;
  if (std::filesystem::is_fifo(path, ignored) || std::filesystem::is_character_file(path, ignored)) {
    text_ = read_file(path);
    all_ = text_;
  } else {
    file_ = MappedFile(path);
    all_ = {reinterpret_cast<const char*>(file_.bytes().data()), file_.bytes().size()};
  }
  rest_ = all_;
}

bool JsonlReader::next(JsonlRow& row) {
  while (!rest_.empty()) {
    const size_t end = rest_.find('\n');
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    ++lines_;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    row = {};
    row.row = rows_++;
    row.line = lines_;
    try {
      row.value = parse_json(line, fmt::format("{}:{}", path_, lines_));
    } catch (const Error& error) {
      row.error = error.what();
    }
    return true;
  }
  return false;
}

std::vector<Json> read_jsonl(const std::filesystem::path& path) {
  JsonlReader reader(path);
  std::vector<Json> rows;
  for (JsonlRow row; reader.next(row);) {
    if (!row.error.empty()) throw Error(row.error);
    rows.push_back(std::move(row.value));
  }
  return rows;
}

JsonlWriter::JsonlWriter(const std::filesystem::path& path, FileWriter::Mode mode) : out_(path, mode) {}

void JsonlWriter::write(const Json& value) {
  out_.write(value.dump());
  out_.write("\n");
}

}  // namespace r1
