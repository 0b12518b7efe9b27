#include "recipe/report.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text_util.h"
#include "formats/config_file.h"
#include "recipe/report_assets.h"
#include "recipe/report_data.h"

namespace r1 {
namespace {

// Escapes each "<" as \u003c, so that neither "</script" nor "<!--" is left. In JSON a "<" stands only inside
// strings, where \u003c means the same.
std::string script_safe(const Json& json) {
  std::string out;
  for (const char c : json.dump()) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string report_page(const Json& data) {
  using namespace report_assets;
  const std::vector<std::pair<std::string_view, std::string>> parts = {
      {"@TITLE@", html_escaped(data.get_string("name"))},
      {"@STYLE@", std::string(page_css())},
      {"@DATA@", script_safe(data)},
      {"@CHARTJS@", std::string(chart_js())},
      {"@SCRIPT@", std::string(charts_js()) + std::string(explain_js()) + std::string(page_js())},
  };
  // Copies the page in one pass and fills in each part at its place, so that the text of a part is never
  // searched.
  std::string out;
  std::string_view rest = page_html();
  for (const auto& [mark, text] : parts) {
    const size_t at = rest.find(mark);
    R1_CHECK(at != std::string_view::npos, "page.html lacks ", mark);
    out += rest.substr(0, at);
    out += text;
    rest.remove_prefix(at + mark.size());
  }
  return out += rest;
}

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ": r1 report</title>";  // a mark that page.html contains

// Throws Error if a file with this name exists that is not a page of r1 report.
void check_ours(const fs::path& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return;
  if (!fs::is_regular_file(path, ec) || read_file(path).find(kMark) == std::string::npos)
    throw Error(path.string() +
                ": is there, and is not a page of r1 report: name another file with --output");
}

// Gives runs of the same name their paths as names.
void set_names(std::span<const fs::path> paths, std::vector<Json>& runs) {
  std::vector<std::string> names;
  for (const Json& run : runs) names.push_back(run.get_string("name"));
  for (size_t i = 0; i < runs.size(); ++i) {
    if (std::ranges::count(names, names[i]) > 1) runs[i].set("name", paths[i].string());
  }
}

}  // namespace

fs::path write_report(std::span<const fs::path> paths, const fs::path& output) {
  if (paths.empty()) throw Error("no run is named");
  for (size_t i = 0; i < paths.size(); ++i) {
    std::error_code ec;
    for (size_t j = 0; j < i; ++j) {
      if (fs::equivalent(paths[i], paths[j], ec))
        throw Error(paths[i].string() + ": is named twice: a run is compared with others");
    }
  }
  std::vector<Json> runs;
  for (const fs::path& path : paths) runs.push_back(collect_report(path));
  set_names(paths, runs);
  std::string name;
  Json list = Json::array();
  for (Json& run : runs) {
    name += (name.empty() ? "" : ", ") + run.get_string("name");
    list.push_back(std::move(run));
  }
  fs::path path = output;
  if (path.empty()) {
    path = paths.size() == 1 ? paths[0] / "report.html" : fs::path("report.html");
    if (paths.size() > 1) check_ours(path);
  }
  write_file_atomically(path, report_page(Json::object().set("name", name).set("runs", std::move(list))));
  return path;
}

fs::path write_report(const fs::path& run, const fs::path& output) {
  return write_report(std::span(&run, 1), output);
}

fs::path write_recipe_report(const fs::path& run, const fs::path& config) {
  write_file_atomically(run / "recipe.toml", ConfigFile::read(config).annotated_copy());
  return write_report(run);
}

}  // namespace r1
