// Any bytes as the answer of an HTTP server, as an address, a Location, a Retry-After or a Content-Range give
// an Error or a value. An answer does not depend on the pieces in which it comes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/http_client.h"
#include "formats/hub_download.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// Returns the result of reading the bytes in pieces of `piece` bytes, as one text.
std::string read_all(std::string_view bytes, size_t piece, bool no_body) {
  std::string body, out;
  r1::HttpResponseReader reader(
      no_body, [] {}, [&](std::string_view part) { body.append(part); });
  try {
    while (!bytes.empty() && !reader.done()) {
      const size_t n = std::min(piece, bytes.size());
      reader.feed(bytes.substr(0, n));
      bytes.remove_prefix(n);
    }
    if (!reader.done()) reader.end();
    out = std::to_string(reader.status()) + ":";
    for (const r1::HttpHeader& h : reader.headers()) out += h.name + "=" + h.value + ";";
    require(reader.done() && reader.has_header());
    require(body.size() <= 1 << 24);
    return out + body;
  } catch (const r1::Error& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return "error";
  }
}

void read_address(const std::string& text) {
  try {
    const r1::HttpUrl url = r1::parse_http_url(text);
    require(!url.host.empty() && url.target.starts_with('/'));
    require(url.target.find_first_of("\r\n ") == std::string::npos);
    require(r1::parse_http_url(url.text()).text() == url.text());
  } catch (const r1::Error& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  try {
    static const r1::HttpUrl base = r1::parse_http_url("https://h/a/b");
    const r1::HttpUrl url = r1::resolve_http_url(base, text);
    require(url.target.find("/../") == std::string::npos || url.target.find('?') < url.target.find("/../"));
  } catch (const r1::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const bool no_body = size > 0 && data[size - 1] == 'H';
  const std::string whole = read_all(text, size + 1, no_body);
  // Bytes behind the end are an error if they come with it, and are not looked at if they come later.
  const std::string single = read_all(text, 1, no_body);
  require(whole == single || whole == "error");
  read_address(text);
  require(r1::retry_after_seconds(text, 0) >= -1);
  r1::ContentRange range;
  if (r1::read_content_range(text, range)) require(range.first <= range.last && range.last < range.total);
  return 0;
}
