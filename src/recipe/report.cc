#include "recipe/report.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text_util.h"
#include "formats/config_file.h"
#include "recipe/report_assets.h"
#include "recipe/report_data.h"

namespace r1 {
namespace {

// In JSON a "<" can only stand inside a string, where \u003c is the same: no "</script" and no "<!--" is
// left.
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
      {"@SCRIPT@", std::string(charts_js()) + std::string(page_js())},
  };
  // One pass over the page, each part in its place once: what is put in is never looked at again.
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

std::filesystem::path write_report(const std::filesystem::path& run, const std::filesystem::path& output) {
  const std::filesystem::path path = output.empty() ? run / "report.html" : output;
  write_file_atomically(path, report_page(collect_report(run)));
  return path;
}

std::filesystem::path write_recipe_report(const std::filesystem::path& run,
                                          const std::filesystem::path& config) {
  write_file_atomically(run / "recipe.toml", ConfigFile::read(config).annotated_copy());
  return write_report(run);
}

}  // namespace r1
