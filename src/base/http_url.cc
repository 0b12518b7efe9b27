#include "base/http_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"

namespace r1 {
namespace {

[[noreturn]] void refuse_url(std::string_view url, std::string_view why) {
  throw Error(fmt::format("{} {}; an address is http[s]://HOST[:PORT][/PATH]", shown_ascii(url), why));
}

bool is_host_character(char c) {
  return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
}

bool is_ipv6_character(char c) {
  return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f') || c == ':' || c == '.';
}

void read_port(std::string_view url, std::string_view port, HttpUrl& out) {
  int number = 0;
  const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (problem != std::errc() || end != port.data() + port.size() || number < 1 || number > 65535)
    refuse_url(url, "has a port that is not between 1 and 65535");
  out.port = std::to_string(number);
}

// Returns the path of a target without its segments . and .. (RFC 3986, 5.2.4); the query stays as it is.
std::string without_dots(std::string_view target) {
  const size_t query = std::min(target.find('?'), target.size());
  std::string_view path = target.substr(0, query);
  std::vector<std::string_view> kept;
  bool slash_ends = true;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    path.remove_prefix(end);
    slash_ends = segment.empty() || segment == "." || segment == "..";
    if (segment == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (segment != "." && !(segment.empty() && path.empty())) {
      kept.push_back(segment);
    }
  }
  std::string out;
  for (const std::string_view segment : kept) out.append("/").append(segment);
  if (slash_ends) out += '/';
  return out.append(target.substr(query));
}

}  // namespace

std::string shown_ascii(std::string_view text) {
  constexpr size_t kLongest = 200;
  std::string out;
  for (const char c : text.substr(0, kLongest)) out += c < 0x20 || c == 0x7F ? '?' : c;
  if (text.size() > kLongest) out += "...";
  return out.empty() ? "\"\"" : out;
}

std::string HttpUrl::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? "443" : "80") ? name : name + ":" + port;
}

std::string HttpUrl::origin() const {
  return (tls ? "https://" : "http://") + authority();
}

HttpUrl parse_http_url(std::string_view url) {
  HttpUrl out;
  std::string_view rest = url;
  if (url.starts_with("https://")) {
    out.tls = true;
    rest.remove_prefix(8);
  } else if (url.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    refuse_url(url, "does not begin with http:// or https://");
  }
  constexpr size_t kLongest = 16384;
  if (url.size() > kLongest) refuse_url(url, "is too long");
  if (std::ranges::any_of(url,
                          [](unsigned char c) { return c <= ' ' || c == 0x7F || c == '#' || c == '\\'; }))
    refuse_url(url, "has a blank, a control character, a backslash or a #");
  const size_t slash = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view host = rest.substr(0, slash);
  std::string_view target = rest.substr(slash);
  if (host.find('@') != std::string_view::npos) refuse_url(url, "has a user's name, which is not supported");
  out.port = out.tls ? "443" : "80";
  const bool bracket = host.starts_with('[');
  const size_t end = bracket ? host.find(']') : std::min(host.find(':'), host.size());
  if (end == std::string_view::npos) refuse_url(url, "has a [ without its ]");
  const std::string_view after = host.substr(bracket ? end + 1 : end);
  if (after.starts_with(':')) {
    read_port(url, after.substr(1), out);
  } else if (!after.empty()) {
    refuse_url(url, "has characters behind its ]");
  }
  host = bracket ? host.substr(1, end - 1) : host.substr(0, end);
  if (host.empty()) refuse_url(url, "names no host");
  if (!std::ranges::all_of(host, bracket ? is_ipv6_character : is_host_character))
    refuse_url(url, "has a host with characters that no host's name has");
  for (const char c : host) out.host += to_lower(c);
  if (!target.starts_with('/')) out.target = "/";
  for (const char c : target) {
    if ((c & 0x80) == 0) {
      out.target += c;
    } else {
      out.target += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

HttpUrl resolve_http_url(const HttpUrl& base, std::string_view location) {
  location = location.substr(0, location.find('#'));
  if (location.empty()) return base;
  HttpUrl out;
  if (location.find("://") < location.find_first_of("/?")) {
    std::string text(location);
    std::ranges::transform(text.begin(), text.begin() + static_cast<long>(text.find(':')), text.begin(),
                           to_lower);
    out = parse_http_url(text);
  } else if (location.starts_with("//")) {
    out = parse_http_url((base.tls ? "https:" : "http:") + std::string(location));
  } else {
    const std::string path = base.target.substr(0, base.target.find('?'));
    std::string target(location);
    if (location.starts_with('?')) target = path + target;
    if (!location.starts_with('/') && !location.starts_with('?'))
      target = path.substr(0, path.rfind('/') + 1) + target;
    out = parse_http_url(base.origin() + target);
  }
  out.target = without_dots(out.target);
  return out;
}

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace r1
