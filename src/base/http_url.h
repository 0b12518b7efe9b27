// base/http_url.h: addresses of the web (RFC 3986, the part that HTTP needs).
#pragma once

#include <string>
#include <string_view>

namespace r1 {

// The parts of http://HOST[:PORT][/PATH][?QUERY] or https://...
struct HttpUrl {
  bool tls = false;    // https
  std::string host;    // in lower case; an IPv6 address without its brackets
  std::string port;    // decimal, 80 and 443 by default
  std::string target;  // path and query; begins with /

  std::string authority() const;  // "host", "host:8080" or "[::1]:8080": without the scheme's own port
  std::string origin() const;     // "https://host"
  std::string text() const { return origin() + target; }
  bool same_origin(const HttpUrl& other) const {
    return tls == other.tls && host == other.host && port == other.port;
  }
};

// Throws Error, which shows the address, if it is not of the form above, names a user, or has a blank, a
// control character or a fragment. Bytes beyond ASCII in the target are percent-encoded.
HttpUrl parse_http_url(std::string_view url);

// Returns the address that a Location header means: an absolute one, or one relative to `base`. A fragment is
// dropped, and so are the segments . and .. of a path. Throws Error as parse_http_url does.
HttpUrl resolve_http_url(const HttpUrl& base, std::string_view location);

// Percent-encodes all bytes but letters, digits and - . _ ~ /, so that a file's name can stand in a path.
std::string percent_encoded(std::string_view path);

// A text from the network, for a message: one line of printable ASCII, at most 200 characters.
std::string shown_ascii(std::string_view text);

}  // namespace r1
