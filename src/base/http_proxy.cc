#include "base/http_proxy.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cstdlib>

#include "base/ascii.h"
#include "base/error.h"

namespace r1 {
namespace {

std::string variable(const Environment& environment, const char* upper, const char* lower) {
  for (const char* name : {lower, upper}) {
    const char* value = environment ? environment(name) : std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

bool is_this_machine(const std::string& host) {
  return host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "::1";
}

bool is_listed(const std::string& host, const std::string& port, std::string_view list) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    std::string name;
    for (const char c : trim(list.substr(0, end))) name += to_lower(c);
    list.remove_prefix(std::min(end + 1, list.size()));
    if (name == "*") return true;
    if (name.starts_with("*.")) name.erase(0, 1);
    const size_t colon = name.rfind(':');
    if (colon != std::string::npos && name.find(':') == colon) {
      if (name.substr(colon + 1) != port) continue;
      name.resize(colon);
    }
    const bool dotted = name.starts_with('.');
    if (dotted) name.erase(0, 1);
    if (name.empty()) continue;
    if (host == name || host.ends_with("." + name)) return true;
  }
  return false;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const auto digit = [](char c) {
      return is_digit(c) ? c - '0' : to_lower(c) >= 'a' && to_lower(c) <= 'f' ? to_lower(c) - 'a' + 10 : -1;
    };
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      value = static_cast<unsigned>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string base64(const std::string& text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int n =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  out.resize(static_cast<size_t>(n));
  return out;
}

}  // namespace

std::optional<HttpProxy> proxy_for(const HttpUrl& url, const Environment& environment) {
  const char* upper = url.tls ? "HTTPS_PROXY" : "HTTP_PROXY";
  std::string text = variable(environment, upper, url.tls ? "https_proxy" : "http_proxy");
  if (text.empty()) text = variable(environment, "ALL_PROXY", "all_proxy");
  if (text.empty() || is_this_machine(url.host)) return std::nullopt;
  if (is_listed(url.host, url.port, variable(environment, "NO_PROXY", "no_proxy"))) return std::nullopt;
  if (text.find("://") == std::string::npos) text = "http://" + text;
  if (!text.starts_with("http://"))
    throw Error(fmt::format("{}: {} is not supported; a proxy is http://[USER:PASSWORD@]HOST[:PORT]", upper,
                            shown_ascii(text.substr(0, text.find("://") + 3))));
  HttpProxy proxy;
  const size_t at = text.rfind('@');
  if (at != std::string::npos) {
    proxy.authorization = "Basic " + base64(percent_decoded(std::string_view(text).substr(7, at - 7)));
    text = "http://" + text.substr(at + 1);
  }
  try {
    proxy.url = parse_http_url(text);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", upper, e.what()));
  }
  return proxy;
}

}  // namespace r1
