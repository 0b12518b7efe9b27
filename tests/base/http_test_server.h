// tests/base/http_test_server.h: a server of a test's own on this machine, plain or with TLS.
//
// A reply is raw bytes, so that a test can cut, lie and break the framing as it likes. Every connection has a
// thread.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace r1::test {

struct SeenRequest {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto at = headers.find(name);
    return at == headers.end() ? "" : at->second;
  }
};

struct RawReply {
  std::string bytes;
  bool close = false;  // after the bytes
};

inline RawReply reply(int status, const std::string& body, const std::string& headers = "") {
  return {"HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n" + headers + "\r\n" + body};
}

// A self-signed certificate of `name`, as PEM, with its key.
struct TestCertificate {
  explicit TestCertificate(const std::string& name) {
    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME* subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, name.c_str());
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(certificate, key, EVP_sha256());
  }
  ~TestCertificate() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;
  std::string pem() const {
    BIO* out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, certificate);
    char* text = nullptr;
    const long size = BIO_get_mem_data(out, &text);
    std::string pem(text, static_cast<size_t>(size));
    BIO_free(out);
    return pem;
  }
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

class HttpTestServer {
 public:
  using Handler = std::function<RawReply(const SeenRequest&)>;
  explicit HttpTestServer(Handler handler, const TestCertificate* certificate = nullptr)
      : handler_(std::move(handler)), socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    ::signal(SIGPIPE, SIG_IGN);
    if (certificate != nullptr) {
      tls_ = SSL_CTX_new(TLS_server_method());
      SSL_CTX_use_certificate(tls_, certificate->certificate);
      SSL_CTX_use_PrivateKey(tls_, certificate->key);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 64), 0);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~HttpTestServer() {
    ::shutdown(socket_, SHUT_RDWR);
    accepting_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : serving_) thread.join();
    ::close(socket_);
    SSL_CTX_free(tls_);
  }
  HttpTestServer(const HttpTestServer&) = delete;
  HttpTestServer& operator=(const HttpTestServer&) = delete;

  int port() const { return port_; }
  std::string url(const std::string& target = "") const {
    return (tls_ != nullptr ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_) + target;
  }
  std::vector<SeenRequest> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  std::atomic<int> connections{0};
  std::string greeting;  // sent to every connection before anything is read

 private:
  void accept_all() {
    for (int fd = 0; (fd = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      ++connections;
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      serving_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    if (!greeting.empty()) ::send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL);
    SSL* ssl = nullptr;
    if (tls_ != nullptr) {
      ssl = SSL_new(tls_);
      SSL_set_fd(ssl, fd);
    }
    if (ssl == nullptr || SSL_accept(ssl) == 1) {
      const auto read = [&](char* bytes, size_t size) {
        return ssl != nullptr ? SSL_read(ssl, bytes, static_cast<int>(size))
                              : static_cast<int>(::recv(fd, bytes, size, 0));
      };
      std::string text;
      SeenRequest request;
      while (next(read, text, request)) {
        {
          const std::lock_guard lock(mutex_);
          seen_.push_back(request);
        }
        const RawReply out = handler_(request);
        size_t sent = 0;
        while (sent < out.bytes.size()) {
          const auto left = out.bytes.size() - sent;
          const ssize_t n = ssl != nullptr ? SSL_write(ssl, out.bytes.data() + sent, static_cast<int>(left))
                                           : ::send(fd, out.bytes.data() + sent, left, MSG_NOSIGNAL);
          if (n <= 0) break;
          sent += static_cast<size_t>(n);
        }
        if (out.close || sent < out.bytes.size()) break;
      }
      if (ssl != nullptr) SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
  }

  // Reads the next request; what follows it stays in `text`.
  template <class Read>
  static bool next(const Read& read, std::string& text, SeenRequest& out) {
    const auto more = [&] {
      char chunk[65536];
      const auto n = read(chunk, sizeof chunk);
      if (n <= 0) return false;
      text.append(chunk, static_cast<size_t>(n));
      return true;
    };
    size_t end = 0;
    while ((end = text.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return false;
    }
    out = {};
    size_t at = text.find("\r\n");
    const std::string line = text.substr(0, at);
    out.method = line.substr(0, line.find(' '));
    out.target = line.substr(out.method.size() + 1, line.rfind(' ') - out.method.size() - 1);
    while (at < end) {
      const size_t stop = text.find("\r\n", at + 2), colon = text.find(": ", at + 2);
      std::string name = text.substr(at + 2, colon - at - 2);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      out.headers[name] = text.substr(colon + 2, stop - colon - 2);
      at = stop;
    }
    const std::string length = out.header("content-length");
    const size_t body = length.empty() ? 0 : std::stoul(length);
    while (text.size() < end + 4 + body) {
      if (!more()) return false;
    }
    out.body = text.substr(end + 4, body);
    text.erase(0, end + 4 + body);
    return true;
  }

  Handler handler_;
  int socket_;
  int port_ = 0;
  SSL_CTX* tls_ = nullptr;
  mutable std::mutex mutex_;  // guards open_, seen_ and serving_
  std::vector<int> open_;
  std::vector<SeenRequest> seen_;
  std::thread accepting_;
  std::vector<std::thread> serving_;
};

}  // namespace r1::test
