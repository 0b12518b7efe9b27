#include "formats/jsonl.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace r1 {

namespace {

bool is_json_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

}  // namespace

JsonlReader::JsonlReader(const std::filesystem::path& path) : path_(path.string()), text_(path) {
  if (path_.ends_with(".json") || path_.ends_with(".json.gz")) begin_array();
}

bool JsonlReader::next(JsonlRow& row) {
  return form_ == Form::lines ? next_line(row) : next_element(row);
}

bool JsonlReader::next_line(JsonlRow& row) {
  for (;;) {
    size_t looked_at = 0;
    size_t end = text_.rest().find('\n');
    while (end == std::string_view::npos) {
      looked_at = text_.rest().size();
      if (!text_.more()) break;
      end = text_.rest().find('\n', looked_at);
    }
    if (text_.rest().empty()) return false;
    const std::string_view line = text_.rest().substr(0, end);
    ++lines_;
    const bool is_blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
    if (!is_blank) parse(line, row);
    text_.consume(end == std::string_view::npos ? text_.rest().size() : end + 1);
    if (!is_blank) return true;
  }
}

void JsonlReader::parse(std::string_view text, JsonlRow& row) {
  row = {};
  row.row = rows_++;
  row.line = lines_;
  try {
    row.value = parse_json(text, fmt::format("{}:{}", path_, lines_));
  } catch (const Error& error) {
    row.error = error.what();
  }
}

// Consumes text of an array, in which lines are counted one by one.
void JsonlReader::consume(size_t bytes) {
  lines_ += std::ranges::count(text_.rest().substr(0, bytes), '\n');
  text_.consume(bytes);
}

// The next character that is no white space, which is not consumed; -1 at the end.
int JsonlReader::skip_space() {
  for (;;) {
    const std::string_view rest = text_.rest();
    size_t at = 0;
    while (at < rest.size() && is_json_space(rest[at])) ++at;
    const bool found = at < rest.size();
    const int next = found ? static_cast<unsigned char>(rest[at]) : -1;
    consume(at);
    if (found || !text_.more()) return next;
  }
}

// A file that does not begin with [ is read as lines; the white space before its first row is gone then.
void JsonlReader::begin_array() {
  lines_ = 1;
  if (skip_space() != '[') {
    --lines_;
    return;
  }
  consume(1);
  form_ = Form::first_element;
}

// Bytes up to the comma or bracket behind the element that begins here, or to the end of the file.
size_t JsonlReader::element_size() {
  bool in_string = false, is_escaped = false;
  int64_t depth = 0;
  size_t at = 0;
  do {
    for (const std::string_view rest = text_.rest(); at < rest.size(); ++at) {
      const char c = rest[at];
      if (in_string) {
        in_string = c != '"' || is_escaped;
        is_escaped = c == '\\' && !is_escaped;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '[' || c == '{') {
        ++depth;
      } else if (depth == 0 && (c == ',' || c == ']')) {
        return at;
      } else if (c == ']' || c == '}') {
        --depth;
      }
    }
  } while (text_.more());
  return at;
}

bool JsonlReader::next_element(JsonlRow& row) {
  if (form_ == Form::ended) return false;
  const bool is_first = form_ == Form::first_element;
  int next = skip_space();
  if (!is_first && next == ',') {
    consume(1);
    next = skip_space();
  } else if (next == ']') {
    consume(1);
    form_ = Form::ended;
    if (skip_space() == -1) return false;
    row = {};
    row.row = rows_++;
    row.line = lines_;
    row.error = fmt::format("{}:{}: there is text behind the end of the array", path_, lines_);
    return true;
  }
  if (next == -1) {
    form_ = Form::ended;
    row = {};
    row.row = rows_++;
    row.line = lines_;
    row.error = fmt::format("{}:{}: the file ends before its array does", path_, lines_);
    return true;
  }
  form_ = Form::elements;
  const size_t size = element_size();
  parse(text_.rest().substr(0, size), row);
  consume(size);
  return true;
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
