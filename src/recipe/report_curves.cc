// recipe/report_curves.cc: metrics.jsonl as columns that a page can draw.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "formats/jsonl.h"
#include "recipe/report_data.h"

namespace r1 {
namespace {

constexpr int64_t kMostRows = 1500;  // a chart has fewer pixels
// Columns beyond this are left out. Our own trainings write fewer than a hundred.
constexpr size_t kMostColumns = 512;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A number beyond a double's range (1e400) counts as one that the row lacks.
double number_or_none(const Json& value) {
  try {
    return value.number();
  } catch (const Error&) {
    return kNone;
  }
}

struct Column {
  std::string name;
  std::vector<double> values;  // one per row; NaN if the row lacks it
};

struct Table {
  std::vector<Column> columns;
  int64_t rows = 0;
  int64_t left_out = 0;  // values of columns beyond kMostColumns

  Column* column(const std::string& name) {
    for (Column& c : columns) {
      if (c.name == name) return &c;
    }
    if (columns.size() == kMostColumns) return nullptr;
    columns.push_back({name, std::vector<double>(static_cast<size_t>(rows), kNone)});
    return &columns.back();
  }
  const Column* find(const std::string& name) const {
    for (const Column& c : columns) {
      if (c.name == name) return &c;
    }
    return nullptr;
  }
  void add(const Json& row) {
    for (const auto& [key, value] : row.members()) {
      if (!value.is_number()) continue;
      Column* to = column(key);
      left_out += to == nullptr ? 1 : 0;
      if (to != nullptr) to->values.push_back(number_or_none(value));
    }
    ++rows;
    for (Column& c : columns) c.values.resize(static_cast<size_t>(rows), kNone);
  }
};

// Rounds to six digits, which are enough for a curve; integers stay exact. A NaN becomes null when it is
// written.
Json short_number(double value) {
  constexpr double kExact = 0x1p53;
  if (value == std::trunc(value) && std::abs(value) < kExact) return Json(static_cast<int64_t>(value));
  return Json(std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr));
}

// Returns true if the metric is a part of a step's time: sample_s, train_s, ...
bool is_phase(const std::string& name) {
  return name.ends_with("_s") && !name.ends_with("_per_s") && name != "wall_s" && name != "step_s";
}

double sum(const Column& column) {
  double total = 0;
  for (const double v : column.values) total += std::isfinite(v) ? v : 0;
  return total;
}

double median(const Column& column) {
  std::vector<double> values;
  for (const double v : column.values) {
    if (std::isfinite(v)) values.push_back(v);
  }
  if (values.empty()) return kNone;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Json phases_of(const Table& table) {
  Json phases = Json::array();
  const Column* steps = table.find("step_s");
  if (steps == nullptr) return phases;
  const double all = sum(*steps);
  double named = 0;
  for (const Column& c : table.columns) {
    if (!is_phase(c.name)) continue;
    named += sum(c);
    phases.push_back(Json::object().set("name", c.name).set("median", median(c)).set("share", sum(c) / all));
  }
  phases.push_back(Json::object().set("name", "other").set("median", nullptr).set("share", 1 - named / all));
  phases.push_back(Json::object().set("name", "step_s").set("median", median(*steps)).set("share", 1.0));
  return phases;
}

double last_of(const Table& table, const std::string& name) {
  const Column* column = table.find(name);
  return column == nullptr ? kNone : column->values.back();
}

void summarise_columns(const Table& table, Json& out) {
  Json zero = Json::array(), ends = Json::object();
  for (const Column& c : table.columns) {
    if (std::ranges::all_of(c.values, [](double v) { return v == 0; })) zero.push_back(c.name);
    const auto known = [](double v) { return std::isfinite(v); };
    const auto first = std::ranges::find_if(c.values, known);
    const auto last = std::find_if(c.values.rbegin(), c.values.rend(), known);
    if (first != c.values.end()) ends.set(c.name, Json::array().push_back(*first).push_back(*last));
  }
  out.set("zero", std::move(zero)).set("ends", std::move(ends));
  if (const Column* c = table.find("sampler_trainer_max_abs")) {
    double largest = 0;
    for (const double v : c->values) largest = std::max(largest, std::isnan(v) ? 0 : std::abs(v));
    out.set("sampler_trainer", largest);
  }
}

}  // namespace

Json training_curves(const std::filesystem::path& metrics, Missing& missing) {
  int64_t bad = 0;
  JsonlReader reader(metrics);
  const auto next = [&](Json& row) {
    for (JsonlRow line; reader.next(line);) {
      if (line.error.empty() && line.value.is_object()) {
        row = std::move(line.value);
        return true;
      }
      ++bad;
    }
    return false;
  };
  Missing left_out;
  Json out = curves_of_rows(next, kMostRows, left_out);
  if (bad > 0) {
    missing.push_back(fmt::format(
        "{}: {} lines are no JSON objects and left out (the last line of a run that is at work may be torn)",
        metrics.string(), bad));
  }
  for (const std::string& sentence : left_out) missing.push_back(metrics.string() + ": " + sentence);
  return out;
}

Json curves_of_rows(const std::function<bool(Json& row)>& next, int64_t most_rows, Missing& missing) {
  Table table;
  for (Json row; next(row);) table.add(row);
  if (table.left_out > 0) {
    missing.push_back(fmt::format("only the first {} fields are drawn; {} values of others are left out",
                                  kMostColumns, table.left_out));
  }
  Json out = Json::object();
  out.set("rows", table.rows);
  if (table.rows == 0) return out;
  const int64_t every = (table.rows + most_rows - 1) / most_rows;
  Json columns = Json::object();
  for (const Column& c : table.columns) {
    Json values = Json::array();
    for (int64_t i = (table.rows - 1) % every; i < table.rows;
         i += every)  // the last row is always among those kept
      values.push_back(short_number(c.values[static_cast<size_t>(i)]));
    columns.set(c.name, std::move(values));
  }
  out.set("every", every).set("columns", std::move(columns));
  summarise_columns(table, out);
  out.set("phases", phases_of(table));
  out.set("tokens", last_of(table, "tokens")).set("wall_s", last_of(table, "wall_s"));
  return out;
}

}  // namespace r1
