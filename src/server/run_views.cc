#include "server/run_views.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "recipe/report_data.h"
#include "text/think.h"
#include "train/watch.h"

namespace r1 {
namespace {

constexpr int64_t kCurvePoints = 500;
// A part of a file may have a million short rows, which as columns would fill the memory.
constexpr size_t kMostMetricRows = 20'000;
constexpr size_t kMostRolloutBytes = 2'000'000;
constexpr size_t kMostLastNumbers = 200;

struct TextLine {
  std::string_view text;
  int64_t begin = 0;  // in the file
};

// Takes whole lines off the end of a part, the last one first.
class LinesFromEnd {
 public:
  explicit LinesFromEnd(FilePart part) : text_(part.text), offset_(part.begin) {
    const size_t last = text_.rfind('\n');
    end_ = last == std::string_view::npos ? 0 : last + 1;  // what follows is torn
    if (offset_ > 0) {
      const size_t first = text_.find('\n');
      begin_ = first == std::string_view::npos ? end_ : first + 1;
    }
  }
  // Returns the place in the file at which the part's first whole line begins.
  int64_t begin() const { return offset_ + static_cast<int64_t>(begin_); }

  std::optional<TextLine> next() {
    while (end_ > begin_) {
      const size_t stop = end_ - 1;                                    // the line's newline
      size_t start = stop == 0 ? 0 : text_.rfind('\n', stop - 1) + 1;  // npos + 1 is 0
      start = std::max(start, begin_);
      end_ = start;
      const std::string_view line = text_.substr(start, stop - start);
      if (line.find_first_not_of(" \t\r") != std::string_view::npos)
        return TextLine{.text = line, .begin = offset_ + static_cast<int64_t>(start)};
    }
    return std::nullopt;
  }

 private:
  std::string_view text_;
  int64_t offset_;
  size_t begin_ = 0, end_ = 0;
};

std::optional<Json> object_of(std::string_view line, const char* name) {
  try {
    Json row = parse_json(line, name);
    if (row.is_object()) return row;
  } catch (const Error&) {  // the caller counts it
  }
  return std::nullopt;
}

Json numbers_of(const Json& row) {
  Json out = Json::object();
  size_t count = 0;
  for (const auto& [key, value] : row.members()) {
    if (value.is_number() && ++count <= kMostLastNumbers) out.set(key, value);
  }
  return out;
}

constexpr const char* kMetricsName = "metrics.jsonl";

// The warnings that the run printed while it trained.
Json warnings_of(const std::vector<Json>& rows) {
  Json out = Json::array();
  TrainingWatch watch;
  for (const Json& row : rows) {
    if (!row.contains("reward")) continue;
    try {
      for (const std::string& warning : watch.add(row)) out.push_back(warning);
    } catch (const Error&) {  // a field of the wrong type: the row says nothing to the watch
    }
  }
  return out;
}

void copy_text(const Json& row, Json& out, const char* key) {
  const Json* value = row.find(key);
  if (value != nullptr && value->is_string()) out.set(key, shortened(value->string()));
}

void copy_number(const Json& row, Json& out, const char* key, const char* name) {
  const Json* value = row.find(key);
  if (value != nullptr && value->is_number()) out.set(name, *value);
}

// Throws Error if the row is not one of samples.
Json rollout_view(const Json& row) {
  Json out = Json::object();
  out.set("correct", row.get_bool("correct"));
  for (const char* key : {"eval", "task", "question", "gold", "why", "status", "finish_reason"})
    copy_text(row, out, key);
  copy_number(row, out, "step", "step");
  copy_number(row, out, row.contains("problem") ? "problem" : "prompt", "problem");
  for (const char* key : {"sample", "reward", "advantage"}) copy_number(row, out, key, key);
  if (const Json* tokens = row.find("tokens")) {
    if (tokens->is_array()) out.set("tokens", static_cast<int64_t>(tokens->size()));
    if (tokens->is_integer()) out.set("tokens", *tokens);
  }
  const Json* text = row.find("text");
  if (text != nullptr && text->is_string()) {
    const Json* opened = row.find("prompt_opened");
    const ThinkSplit split =
        split_think(text->string(), opened != nullptr && opened->is_bool() && opened->boolean());
    if (split.has_thought) out.set("thought", shortened(split.thought));
    out.set("answer", shortened(split.answer));
  }
  return out;
}

bool is_chosen(const Json& view, VerdictFilter filter) {
  return filter == VerdictFilter::all || view.get_bool("correct") == (filter == VerdictFilter::right);
}

}  // namespace

Json metrics_view(FilePart part) {
  LinesFromEnd lines(part);
  std::vector<Json> rows;
  Json missing = Json::array();
  int64_t bad = 0;
  bool is_whole = lines.begin() == 0;
  while (const std::optional<TextLine> line = lines.next()) {
    if (rows.size() == kMostMetricRows) {
      is_whole = false;
      break;
    }
    std::optional<Json> row = object_of(line->text, kMetricsName);
    if (row) rows.push_back(*std::move(row));
    bad += row ? 0 : 1;
  }
  std::ranges::reverse(rows);
  if (!is_whole)
    missing.push_back(fmt::format("metrics.jsonl is long: the curves show its last {} rows", rows.size()));
  if (bad > 0)
    missing.push_back(fmt::format("metrics.jsonl: {} lines are not JSON objects and are left out", bad));
  size_t at = 0;
  const auto next = [&](Json& row) {
    if (at == rows.size()) return false;
    row = rows[at++];
    return true;
  };
  Json out = Json::object();
  Missing left_out;
  out.set("curves", curves_of_rows(next, kCurvePoints, left_out));
  for (const std::string& sentence : left_out) missing.push_back("metrics.jsonl: " + sentence);
  out.set("last", rows.empty() ? Json::object() : numbers_of(rows.back()));
  out.set("warnings", is_whole ? warnings_of(rows) : Json::array());
  return out.set("missing", std::move(missing));
}

Json last_row_view(FilePart part) {
  LinesFromEnd lines(part);
  while (const std::optional<TextLine> line = lines.next()) {
    if (const std::optional<Json> row = object_of(line->text, kMetricsName)) return numbers_of(*row);
  }
  return Json::object();
}

Json rollouts_view(FilePart part, const RolloutQuery& query) {
  LinesFromEnd lines(part);
  Json rows = Json::array();
  int64_t bad = 0, older = lines.begin();
  size_t bytes = 0;
  while (const std::optional<TextLine> line = lines.next()) {
    if (std::ssize(rows.items()) == query.limit || bytes > kMostRolloutBytes) {
      older = line->begin + std::ssize(line->text) + 1;
      break;
    }
    const std::optional<Json> row = object_of(line->text, "samples");
    try {
      if (!row) throw Error("not an object");
      Json view = rollout_view(*row);
      if (!is_chosen(view, query.verdict)) continue;
      bytes += view.dump().size();
      rows.push_back(std::move(view.set("begin", line->begin)));
    } catch (const Error&) {
      ++bad;
    }
  }
  // A row that is longer than the part leaves no whole one. It is counted once, where it ends, and the next part
  // ends where this one begins.
  if (part.begin > 0 && older == part.begin + std::ssize(part.text) && rows.size() == 0) {
    older = part.begin;
    ++bad;
  }
  Json out = Json::object();
  out.set("rows", std::move(rows)).set("unreadable", bad);
  return out.set("older", older > 0 ? Json(older) : Json());
}

}  // namespace r1
