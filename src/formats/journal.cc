#include "formats/journal.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr std::string_view kMark = "r1_journal";
constexpr std::string_view kStart = "{\"r1_journal\":";  // the start of every header as dump() writes it
constexpr int64_t kVersion = 1;

bool is_hash(const Json& value) {
  return value.is_string() && value.string().size() == 64;
}

std::string shown_value(const Json& value) {
  return shown(value.is_string() ? value.string() : value.dump());
}

}  // namespace

std::filesystem::path Journal::path_for(const std::filesystem::path& output) {
  return output.string() + ".journal";
}

std::optional<int64_t> Journal::header_integer(const std::filesystem::path& output, std::string_view field) {
  const std::filesystem::path path = path_for(output);
  std::error_code none;
  if (!std::filesystem::is_regular_file(path, none)) return {};
  const MappedFile mapped(path);
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  const size_t end = text.find('\n');
  if (!text.starts_with(kStart) || end == std::string_view::npos) return {};
  const Json header = parse_json(text.substr(0, end), path.string() + ":1");
  const Json* value = header.find(field);
  return value != nullptr && value->is_integer() ? std::optional(value->integer()) : std::nullopt;
}

Journal::Journal(Job job)
    : job_(std::move(job)),
      file_(path_for(job_.output)),
      offsets_(static_cast<size_t>(job_.slots), -1),
      bytes_(static_cast<size_t>(job_.slots), 0) {
  if (file_.size() > 0) read();
  if (file_.size() == 0) begin();
}

Journal::~Journal() {
  try {
    if (finished_ == 0) file_.remove();
  } catch (const Error&) {  // an empty journal does no harm: the next run replaces it
  }
}

void Journal::begin() {
  Json header = Json::object();
  header.set(kMark, kVersion);
  for (const auto& [key, value] : job_.identity.members()) header.set(key, value);
  try {
    file_.append(header.dump() + "\n");
    file_.sync();
  } catch (const Error&) {
    file_.remove();
    throw;
  }
}

// Leaves the file empty if it has no finished row and may be started anew.
void Journal::read() {
  const std::string path = file_.path().string();
  const MappedFile mapped(file_.path());
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  const size_t end = text.find('\n');
  const std::string_view first = text.substr(0, end);
  if (!first.starts_with(kStart.substr(0, first.size())))
    throw Error(path + ": is not a journal of r1, which needs this name: move the file away");
  if (end == std::string_view::npos) return file_.truncate(0);  // killed while the header was written
  const Json header = parse_json(first, path + ":1");
  if (header.get_int(kMark) != kVersion) {
    header.at(kMark).fail(fmt::format(
        "is {}; this r1 reads version {}: go on with the r1 that wrote it, or delete the file to begin anew",
        header.get_int(kMark), kVersion));
  }
  const auto begin = static_cast<int64_t>(end) + 1;
  if (begin == file_.size()) return file_.truncate(0);
  if (!job_.resume) {
    throw Error(
        fmt::format("{}: has finished rows of a run that was interrupted. To go on: {}. To begin anew, "
                    "delete the file first",
                    path, job_.resume_command));
  }
  check_identity(header);
  const int64_t whole = read_rows(text.substr(end + 1), begin);
  if (whole < file_.size()) file_.truncate(whole);
}

void Journal::check_identity(const Json& header) const {
  const std::string path = file_.path().string();
  const auto refuse = [&](const std::string& difference) {
    throw Error(
        fmt::format("{}: was begun with {}: give what it was begun with, or delete the file to begin anew",
                    path, difference));
  };
  for (const auto& [key, value] : job_.identity.members()) {
    const Json* was = header.find(key);
    if (was != nullptr && *was == value) continue;
    if (was == nullptr) refuse(fmt::format("no {}, and this command has {}", key, shown_value(value)));
    if (is_hash(value) && is_hash(*was)) refuse("other " + key);
    refuse(fmt::format("{} {}, and this command has {}", key, shown_value(*was), shown_value(value)));
  }
  for (const auto& [key, value] : header.members()) {
    if (key != kMark && !job_.identity.contains(key))
      refuse(fmt::format("{} {}, and this command has none", key, shown_value(value)));
  }
}

// Reads whole rows and returns the offset of the end of the last one. `text` stands at `offset` of the file.
int64_t Journal::read_rows(std::string_view text, int64_t offset) {
  for (size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
    int64_t slot = -1;
    try {
      slot = job_.slot_of(parse_json(text.substr(0, end), file_.path().string()));
    } catch (const Error&) {  // a torn row
    }
    if (slot < 0 || slot >= job_.slots || has(slot)) break;
    keep(slot, offset, static_cast<int64_t>(end));
    offset += static_cast<int64_t>(end) + 1;
  }
  return offset;
}

void Journal::keep(int64_t slot, int64_t offset, int64_t bytes) {
  R1_CHECK(!has(slot), "slot ", slot, " ended twice");
  R1_CHECK(bytes <= UINT32_MAX, "a row of ", bytes, " bytes");
  offsets_[static_cast<size_t>(slot)] = offset;
  bytes_[static_cast<size_t>(slot)] = static_cast<uint32_t>(bytes);
  ++finished_;
}

void Journal::append(int64_t slot, std::string_view line) {
  const int64_t offset = file_.size();
  std::string text(line);
  text += '\n';
  file_.append(text);
  keep(slot, offset, static_cast<int64_t>(line.size()));
}

std::string Journal::line(int64_t slot) const {
  R1_CHECK(has(slot), "slot ", slot, " is not finished");
  return file_.read(offsets_[static_cast<size_t>(slot)], bytes_[static_cast<size_t>(slot)]);
}

void Journal::remove() {
  file_.remove();
  finished_ = -1;  // the destructor has nothing left to delete
}

}  // namespace r1
