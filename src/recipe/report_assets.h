// recipe/report_assets.h: the files that the build embeds for the report: those of recipe/report/ and
// Chart.js.
#pragma once

#include <string_view>

namespace r1::report_assets {

std::string_view page_html();
std::string_view page_css();
std::string_view page_js();
std::string_view charts_js();
std::string_view explain_js();
std::string_view chart_js();  // Chart.js (MIT licence, its notice is the file's first lines)

}  // namespace r1::report_assets
