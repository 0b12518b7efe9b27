// base/http_socket.h: one TCP connection, with TLS (OpenSSL) if it is asked for. Nothing blocks longer than its
// deadline, and every wait ends within a tenth of a second once it is to stop.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace r1 {

// Why a request failed before there was a whole answer. what() is one line that begins with the address.
class HttpError : public Error {
 public:
  // no_host: the name is unknown; connect: refused or unreachable; tls: the certificate or the handshake;
  // timeout; cut: the connection ended early; answer: not HTTP, or more than was allowed; redirect: too many,
  // or to where it may not go; stopped.
  enum class Kind : unsigned char { no_host, connect, tls, timeout, cut, answer, redirect, stopped };
  HttpError(Kind kind, const std::string& line) : Error(line), kind(kind) {}
  Kind kind;
};

// How long an operation may wait.
struct HttpWait {
  std::chrono::steady_clock::time_point until;
  std::string overdue;         // the message if that time is over: "no connection within 15 s"
  std::function<bool()> stop;  // asked at least ten times a second; may be empty
};

// Waits for the socket, or throws HttpError. The message has no address yet.
void wait_for_socket(int fd, short events, const HttpWait& wait);
// Waits for so many seconds, or throws HttpError if it is to stop.
void pause_for(double seconds, const std::function<bool()>& stop);

// Trusted certificates: OpenSSL's default places, or SSL_CERT_FILE and SSL_CERT_DIR. Threads may share it.
class TlsTrust {
 public:
  TlsTrust();
  ~TlsTrust();
  TlsTrust(const TlsTrust&) = delete;
  TlsTrust& operator=(const TlsTrust&) = delete;
  void* context() const { return context_; }  // SSL_CTX*

 private:
  void* context_;
};

class HttpSocket {
 public:
  // Finds the host and connects to the first of its addresses that answers.
  HttpSocket(const std::string& host, const std::string& port, const HttpWait& wait);
  ~HttpSocket();
  HttpSocket(const HttpSocket&) = delete;
  HttpSocket& operator=(const HttpSocket&) = delete;

  // Shakes hands and verifies the certificate and its name. `trust` must outlive this.
  void start_tls(const TlsTrust& trust, const std::string& host, const HttpWait& wait);
  void write(std::string_view bytes, const HttpWait& wait);
  size_t read(std::span<char> bytes, const HttpWait& wait);  // 0: the other side has closed
  // True if an idle connection cannot be used again: it was closed, or bytes have come that nobody asked for.
  bool stale() const;

 private:
  struct Tls;
  int fd_ = -1;
  std::unique_ptr<Tls> tls_;
};

}  // namespace r1
