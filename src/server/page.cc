#include "server/page.h"

#include <fmt/format.h>

#include <map>
#include <string>

#include "formats/shown.h"
#include "server/api_error.h"
#include "server/etag.h"
#include "server/page_assets.h"

namespace r1 {
namespace {

constexpr std::string_view kFolder = "/page/";
constexpr std::string_view kIndex = "index.html";

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'";

std::string_view content_type(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {".html", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".svg", "image/svg+xml"},
      {".woff2", "font/woff2"}};
  for (const auto& [ending, type] : kTypes) {
    if (name.ends_with(ending)) return type;
  }
  R1_CHECK(false, "a file of the page without a content type: ", name);
  return {};
}

struct EmbeddedFile {
  std::string_view bytes;
  std::string tag;
};

const std::map<std::string_view, EmbeddedFile>& embedded_files() {
  static const std::map<std::string_view, EmbeddedFile> all = [] {
    std::map<std::string_view, EmbeddedFile> out;
    for (const page_assets::PageFile& file : page_assets::all())
      out.emplace(file.name, EmbeddedFile{.bytes = file.bytes, .tag = entity_tag(file.bytes)});
    return out;
  }();
  return all;
}

}  // namespace

bool is_page_target(std::string_view target) {
  return target == "/" || target.starts_with(kFolder);
}

ServerResponse page_response(const ServerRequest& request) {
  const std::string_view target = request.target;
  const std::string_view name = target == "/" ? kIndex : target.substr(kFolder.size());
  const auto file = embedded_files().find(name);
  if (file == embedded_files().end())
    throw ApiError(fmt::format("there is no {}", shown(target)), {.status = 404});
  if (request.method != "GET")
    throw ApiError(fmt::format("{} takes GET only", shown(target)), {.status = 405});
  ServerResponse response{.body = std::string(file->second.bytes),
                          .content_type = std::string(content_type(name)),
                          .headers = {{"Content-Security-Policy", std::string(kPolicy)},
                                      {"X-Content-Type-Options", "nosniff"},
                                      {"X-Frame-Options", "DENY"},
                                      {"Referrer-Policy", "no-referrer"},
                                      {"Cross-Origin-Opener-Policy", "same-origin"},
                                      {"Cross-Origin-Resource-Policy", "same-origin"}}};
  return revalidated(std::move(response), file->second.tag, request.if_none_match);
}

}  // namespace r1
