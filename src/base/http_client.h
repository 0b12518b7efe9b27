// base/http_client.h: the one HTTP client: HTTP/1.1 over TCP or TLS. Everything that leaves this machine goes
// through it: the hub (formats/hub.h) and the user's endpoints (reward/http_scorer.h).
//
// Certificates are verified against OpenSSL's default places or SSL_CERT_FILE. Proxies are those of the
// environment (http_proxy.h). Connections are kept open and used again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/http_message.h"
#include "base/http_socket.h"
#include "base/http_url.h"

namespace r1 {

struct HttpOptions {
  double connect_s = 15;                 // to find the host, connect and shake hands
  double idle_s = 60;                    // between two pieces of an answer
  double total_s = 0;                    // of a whole request with its redirects; 0: no limit
  int64_t max_body = int64_t{64} << 20;  // of a body that is returned; a body that a sink takes has no limit
  int redirects = 8;
  // GET and HEAD are repeated so often after a failed connection, a time-out and the statuses 429, 500, 502,
  // 503 and 504. The waits between are as long as Retry-After says, else backoff_s, doubled each time. If the
  // server asks for a longer wait than longest_wait_s, its answer is returned as it is.
  int retries = 4;
  double backoff_s = 0.5;
  double longest_wait_s = 90;
  std::function<bool()> stop;  // asked at least ten times a second; true ends the request with HttpError
  // Called before a wait: the reason in a few words, and the seconds.
  std::function<void(const std::string& why, double seconds)> on_wait;
};

struct HttpRequest {
  std::string method = "GET";  // GET, HEAD or POST
  HttpUrl url;
  std::vector<HttpHeader> headers;  // besides Host, User-Agent, Content-Length and Proxy-Authorization
  std::string body;                 // of a POST
};

struct HttpResponse {
  int status = 0;
  HttpUrl url;  // the one that answered, after redirects
  std::vector<HttpHeader> headers;
  std::string body;  // empty if a sink took it
  const std::string* header(std::string_view name) const { return find_header(headers, name); }
};

// Takes the body of a response whose status is 200 to 299, piece by piece. Both may throw, which ends the
// request. A request that has begun to give a body is not repeated.
struct HttpSink {
  std::function<void(const HttpResponse& response)> begin;  // without the body; may be empty
  std::function<void(std::string_view piece)> take;
};

// Each thread has a client of its own. A client's connections close with it.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Returns the answer, whatever its status. Redirects of GET and HEAD are followed; other hosts do not get
  // the header Authorization, and https is not left for http. Throws HttpError if there is no whole answer.
  HttpResponse send(const HttpRequest& request, const HttpSink& sink = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Returns the seconds that a Retry-After header asks for: a number or a date (RFC 9110, 10.2.3), counted from
// `now`, seconds since 1970; -1 if it is neither.
double retry_after_seconds(std::string_view value, int64_t now);

}  // namespace r1
