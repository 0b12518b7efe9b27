#include "base/http_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace r1 {
namespace {

using namespace std::chrono_literals;
using Kind = HttpError::Kind;
using Clock = std::chrono::steady_clock;

constexpr auto kSlice = 50ms;  // between two looks at `stop`

void check_wait(const HttpWait& wait) {
  if (wait.stop && wait.stop()) throw HttpError(Kind::stopped, "it was stopped");
  if (Clock::now() >= wait.until) throw HttpError(Kind::timeout, wait.overdue);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

struct Lookup {
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  int problem = 0;
  std::vector<SocketAddress> found;
};

// getaddrinfo cannot be interrupted, so it runs in a thread of its own, which is left behind if it is slow.
std::vector<SocketAddress> addresses_of(const std::string& host, const std::string& port,
                                        const HttpWait& wait) {
  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, host, port] {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    int problem = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
    if (problem == EAI_NONAME || problem == EAI_ADDRFAMILY) {  // a machine that has only its loopback
      hints.ai_flags = 0;
      if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &list) == 0) problem = 0;
    }
    const std::lock_guard lock(lookup->mutex);
    for (const addrinfo* at = problem == 0 ? list : nullptr; at != nullptr; at = at->ai_next) {
      SocketAddress& a = lookup->found.emplace_back();
      std::memcpy(&a.storage, at->ai_addr, at->ai_addrlen);
      a.size = at->ai_addrlen;
    }
    if (problem == 0) ::freeaddrinfo(list);
    lookup->problem = problem;
    lookup->done = true;
    lookup->ended.notify_all();
  }).detach();
  std::unique_lock lock(lookup->mutex);
  while (!lookup->done) {
    lookup->ended.wait_for(lock, kSlice);
    if (!lookup->done) check_wait(wait);
  }
  if (lookup->problem != 0 || lookup->found.empty())
    throw HttpError(Kind::no_host,
                    fmt::format("the host {} is not found ({})", host,
                                lookup->problem == 0 ? "no address" : ::gai_strerror(lookup->problem)));
  return std::move(lookup->found);
}

// Returns a connected socket, or -1 and errno.
int connect_to(const SocketAddress& address, const HttpWait& wait) {
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int problem = 0;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) problem = errno;
  if (problem == EINPROGRESS || problem == EINTR) {
    try {
      wait_for_socket(fd, POLLOUT, wait);
    } catch (...) {
      ::close(fd);
      throw;
    }
    socklen_t size = sizeof problem;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
  }
  if (problem == 0) return fd;
  ::close(fd);
  errno = problem;
  return -1;
}

[[noreturn]] void fail_connection(int problem) {
  throw HttpError(Kind::cut, fmt::format("the connection failed ({})", std::strerror(problem)));
}

// OpenSSL's own socket BIO raises SIGPIPE; this one does not. Its data is the descriptor.
int bio_fd(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}
int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(bio_fd(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}
int bio_read(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(bio_fd(bio), bytes, static_cast<size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}
long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}
int bio_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}
BIO_METHOD* quiet_socket() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "quiet socket");
    R1_CHECK(m != nullptr);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_ctrl(m, bio_control);
    BIO_meth_set_create(m, bio_create);
    return m;
  }();
  return method;
}

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason == nullptr ? "no reason given" : reason;
}

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

void wait_for_socket(int fd, short events, const HttpWait& wait) {
  for (;;) {
    check_wait(wait);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(wait.until - Clock::now()) + 1ms;
    pollfd poll{.fd = fd, .events = events, .revents = 0};
    const int n =
        ::poll(&poll, 1, static_cast<int>(std::min<std::chrono::milliseconds>(left, kSlice).count()));
    if (n > 0) return;
    if (n < 0 && errno != EINTR) fail_connection(errno);
  }
}

void pause_for(double seconds, const std::function<bool()>& stop) {
  const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(std::max(0.0, seconds)));
  while (Clock::now() < until) {
    if (stop && stop()) throw HttpError(Kind::stopped, "it was stopped");
    std::this_thread::sleep_for(std::min<Clock::duration>(kSlice, until - Clock::now()));
  }
}

TlsTrust::TlsTrust() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  R1_CHECK(context != nullptr, openssl_reason());
  context_ = context;
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_default_verify_paths(context);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  ERR_clear_error();  // a certificate file that is missing shows as an unknown issuer
}
TlsTrust::~TlsTrust() {
  SSL_CTX_free(static_cast<SSL_CTX*>(context_));
}

struct HttpSocket::Tls {
  SSL* ssl;
  ~Tls() { SSL_free(ssl); }

  // Calls step() until it succeeds. Returns its result, or 0 at the end of the connection.
  template <class Step>
  int run(int fd, const HttpWait& wait, const Step& step) const {
    for (;;) {
      ERR_clear_error();
      const int n = step();
      if (n > 0) return n;
      switch (SSL_get_error(ssl, n)) {
        case SSL_ERROR_WANT_READ:
          wait_for_socket(fd, POLLIN, wait);
          break;
        case SSL_ERROR_WANT_WRITE:
          wait_for_socket(fd, POLLOUT, wait);
          break;
        case SSL_ERROR_ZERO_RETURN:
          return 0;
        case SSL_ERROR_SYSCALL:
          fail_connection(errno == 0 ? ECONNRESET : errno);
        default:
          fail_tls();
      }
    }
  }

  [[noreturn]] void fail_tls() const {
    const long verdict = SSL_get_verify_result(ssl);
    const std::string reason = openssl_reason();
    if (verdict != X509_V_OK)
      throw HttpError(Kind::tls,
                      fmt::format("its certificate is not accepted: {} (SSL_CERT_FILE names the file of "
                                  "trusted certificates)",
                                  X509_verify_cert_error_string(verdict)));
    if (reason == "unexpected eof while reading")
      throw HttpError(Kind::cut, "it closed the connection without ending it");
    if (reason == "wrong version number" || reason == "http request")
      throw HttpError(Kind::tls, "it does not speak TLS on this port: is the address http:// ?");
    throw HttpError(Kind::tls, fmt::format("TLS failed ({})", reason));
  }
};

HttpSocket::HttpSocket(const std::string& host, const std::string& port, const HttpWait& wait) {
  int problem = 0;
  for (const SocketAddress& address : addresses_of(host, port, wait)) {
    fd_ = connect_to(address, wait);
    if (fd_ >= 0) return;
    problem = errno;
  }
  if (problem == ECONNREFUSED) throw HttpError(Kind::connect, "the connection was refused");
  throw HttpError(Kind::connect, fmt::format("no connection can be made ({})", std::strerror(problem)));
}

HttpSocket::~HttpSocket() {
  tls_.reset();
  if (fd_ >= 0) ::close(fd_);
}

void HttpSocket::start_tls(const TlsTrust& trust, const std::string& host, const HttpWait& wait) {
  SSL* ssl = SSL_new(static_cast<SSL_CTX*>(trust.context()));
  R1_CHECK(ssl != nullptr, openssl_reason());
  tls_ = std::make_unique<Tls>(ssl);
  BIO* bio = BIO_new(quiet_socket());
  R1_CHECK(bio != nullptr, openssl_reason());
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd_)));
  SSL_set_bio(ssl, bio, bio);
  X509_VERIFY_PARAM* verify = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (is_address(host)) {
    R1_CHECK(X509_VERIFY_PARAM_set1_ip_asc(verify, host.c_str()) == 1);
  } else {
    R1_CHECK(X509_VERIFY_PARAM_set1_host(verify, host.c_str(), 0) == 1);
    R1_CHECK(SSL_set_tlsext_host_name(ssl, const_cast<char*>(host.c_str())) == 1);
  }
  if (tls_->run(fd_, wait, [&] { return SSL_connect(ssl); }) == 0)
    throw HttpError(Kind::tls, "it ended the TLS handshake");
}

void HttpSocket::write(std::string_view bytes, const HttpWait& wait) {
  while (!bytes.empty()) {
    ssize_t n = 0;
    if (tls_) {
      const int most = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20));
      n = tls_->run(fd_, wait, [&] { return SSL_write(tls_->ssl, bytes.data(), most); });
      if (n == 0) fail_connection(ECONNRESET);
    } else {
      wait_for_socket(fd_, POLLOUT, wait);
      n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (n < 0) fail_connection(errno);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

size_t HttpSocket::read(std::span<char> bytes, const HttpWait& wait) {
  if (tls_) {
    const int most = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20));
    check_wait(wait);  // OpenSSL may have bytes for a long time without a wait
    return static_cast<size_t>(tls_->run(fd_, wait, [&] { return SSL_read(tls_->ssl, bytes.data(), most); }));
  }
  for (;;) {
    wait_for_socket(fd_, POLLIN, wait);
    const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EAGAIN && errno != EINTR) fail_connection(errno);
  }
}

bool HttpSocket::stale() const {
  pollfd poll{.fd = fd_, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) != 0;
}

}  // namespace r1
