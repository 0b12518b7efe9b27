// base/http_proxy.h: which proxy a request goes through, by the environment: HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY, in capitals or not, as curl and Python read them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/http_url.h"

namespace r1 {

struct HttpProxy {
  HttpUrl url;                // http://HOST:PORT
  std::string authorization;  // "Basic ...", if the variable names a user; else ""
};

// Returns the value of an environment variable, or nullptr; the default reads the process's own.
using Environment = std::function<const char*(const char* name)>;

// Returns no value if the request goes directly: no variable is set, the host is this machine, or NO_PROXY
// lists it. NO_PROXY is a list of names, separated by commas, each of which stands for itself and the names
// below it; * stands for all. Throws Error if the proxy is not an http:// address.
std::optional<HttpProxy> proxy_for(const HttpUrl& url, const Environment& environment = {});

}  // namespace r1
