// base/http_message.h: the messages of HTTP/1.1 (RFC 9112) as bytes: a request is written, a response is read
// piece by piece as it comes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

struct HttpHeader {
  std::string name, value;
};

// Returns the value of the first header of this name, in any case; nullptr if there is none.
const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name);

// Returns the bytes of a request. `target` is a path, an absolute address (to a proxy) or host:port (CONNECT).
// Throws Error if a header holds a line end or another control character.
std::string http_request_text(std::string_view method, std::string_view target,
                              const std::vector<HttpHeader>& headers, std::string_view body);

// Reads one response. Interim responses (status 100 to 199) are skipped. A header is at most 64 KiB long.
class HttpResponseReader {
 public:
  // `on_header` is called once, when status() and headers() are complete; `on_body` for each piece of the
  // body, without the framing of a chunked one. Both may throw, which ends the reading. `no_body`: the
  // response is the answer to HEAD or CONNECT.
  HttpResponseReader(bool no_body, std::function<void()> on_header,
                     std::function<void(std::string_view)> on_body);
  ~HttpResponseReader();
  HttpResponseReader(const HttpResponseReader&) = delete;
  HttpResponseReader& operator=(const HttpResponseReader&) = delete;

  // Takes the next bytes of the connection. Throws Error if they are no HTTP. Bytes after the end of the
  // response are an error, because nothing was asked that they could answer.
  void feed(std::string_view bytes);
  // The connection has ended. Throws Error if the response has not; a body without a length ends here.
  void end();

  bool begun() const;  // a byte has come
  bool has_header() const;
  bool done() const;
  bool keep_alive() const;  // of a response that is done: the connection can be used again
  int status() const;
  const std::vector<HttpHeader>& headers() const;
  std::optional<uint64_t> content_length() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
