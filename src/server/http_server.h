// server/http_server.h: HTTP/1.1 (RFC 9112) for few, long answers: one thread reads and writes all sockets.
//
// A connection serves one request at a time. The handler gets the whole request and answers through
// HttpReply, at once or later and from any thread. Sizes and times are bounded (HttpLimits); what breaks a
// bound is answered with 408, 413 or 431 and loses its connection. A client has gone when its socket reports
// an error. The end of its sending direction alone (a half-closed socket) is not that: the head of the answer
// is then sent at once, so that a client that has closed the socket resets it, while one that still reads
// gets its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace r1 {

struct ServerRequest {
  std::string method;  // in capitals; HEAD is given as GET
  std::string target;  // the path as it was sent, without the query
  std::string query;   // what follows the "?", as it was sent
  std::string body;
  std::string authorization;                // the header's value, or ""
  std::string api_key;                      // likewise: X-Api-Key
  std::string origin, host, if_none_match;  // likewise
};

struct ServerResponse {
  int status = 200;
  std::string body = {};
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// The answer to one request. Calls are safe from any thread, and do nothing after the client has gone.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  // Sends the whole answer.
  virtual void send(ServerResponse response) = 0;
  // Says that the answer will be a stream of events; it begins with the first write().
  virtual void will_stream() = 0;
  // Sends a part of the stream, and its end. send() may take the place of the first write().
  virtual void write(std::string events) = 0;
  virtual void end() = 0;
  // `call` is called once, on the server's thread, when the client has gone before its answer was complete.
  virtual void on_gone(std::function<void()> call) = 0;
};

struct HttpLimits {
  size_t header_bytes = size_t{32} << 10;
  uint64_t body_bytes = uint64_t{16} << 20;
  // Bytes of an answer that wait for a slow reader before its connection is closed.
  size_t unsent_bytes = size_t{8} << 20;
  int64_t connections = 4096;  // open at a time; a further one is answered with 503
  // Seconds.
  double header_s = 10;  // from a request's first byte to the end of its headers
  double body_s = 60;    // for the body
  double idle_s = 75;    // between two requests of a connection
  double write_s = 60;   // without progress of the reader
};

class HttpServer {
 public:
  // Called on the server's thread; must return soon.
  using Handler = std::function<void(ServerRequest, std::shared_ptr<HttpReply>)>;

  // Listens on an address or a host's name. Port 0 is any free one. Throws Error.
  HttpServer(const std::string& host, int port, const HttpLimits& limits, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  std::string address() const;  // the numeric address that it listens on
  bool is_loopback() const;

  // Serves until stop(), or until the connections have ended after drain(). Called once.
  void run();
  // Accepts no further connection and closes idle ones; connections in use end with their answer. Any thread.
  void drain();
  // Drains, and after a second closes what is still open. Any thread may call it.
  void stop();
  int64_t connections() const;  // open ones; any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Returns the reason phrase of a status, such as "Not Found".
std::string reason_phrase(int status);

}  // namespace r1
