// server/http_server.cc: the only file of the server that includes Boost.Beast and Asio.
// Beast asserts that the last chunk's header and trailer come in five bytes or more. Pieces of a connection may be shorter,
// and whoever sends them must not end the program; without the assertions it reads on.
#define BOOST_DISABLE_ASSERTS

#include "server/http_server.h"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <ctime>
#include <deque>
#include <optional>
#include <unordered_set>

#include "base/error.h"

namespace r1 {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr size_t kDiscarded = size_t{256} << 20;  // bytes of a refused body that are read before the close
constexpr double kDiscardSeconds = 10;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

class Session;

// The state that all sessions share. It outlives them.
struct Sessions {
  HttpLimits limits;
  HttpServer::Handler handler;
  std::unordered_set<std::shared_ptr<Session>> open;
  std::atomic<int64_t> count = 0;
  bool draining = false;
  std::function<void()> emptied;  // the last one has ended
};

class Session final : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Sessions& all)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        write_timer_(timer_.get_executor()),
        all_(all) {}

  void begin() {
    ErrorCode ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    next_request();
  }
  // Answers without reading a request.
  void refuse(int status, const std::string& why) {
    rejected_ = true;
    keep_alive_ = false;
    busy_ = true;
    send(serial_, plain(status, why));
  }
  void drain() {
    keep_alive_ = false;
    if (!busy_ && !reading_) close();
  }
  void close() {
    if (closed_) return;
    closed_ = true;
    ErrorCode ignored;
    timer_.cancel();
    write_timer_.cancel();
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
    if (auto gone = std::exchange(gone_, {}); gone && busy_) gone();
    busy_ = false;
    if (all_.open.erase(shared_from_this()) > 0) --all_.count;
    if (all_.open.empty()) all_.emptied();
  }

  // The calls of a Reply, on the server's thread. `serial` names the request that is answered.
  void send(uint64_t serial, ServerResponse response) {
    if (closed_ || serial != serial_ || !busy_ || ended_) return;
    if (head_sent_) {  // half-closed: the head has promised status 200, and the close ends the body
      if (response.status != 200 || streaming_) return close();
      ended_ = true;
      return queue(std::move(response.body));
    }
    std::string out = head(response.status, response.content_type, response.headers);
    constexpr int kNotModified = 304;  // has no body, and would have to give the length of the one it spares
    if (response.status != kNotModified) out += fmt::format("Content-Length: {}\r\n", response.body.size());
    out += "\r\n";
    if (!is_head_) out += response.body;
    head_sent_ = ended_ = true;
    queue(std::move(out));
  }
  void will_stream(uint64_t serial) {
    if (serial == serial_) streaming_ = true;
  }
  void write(uint64_t serial, const std::string& events) {
    if (closed_ || serial != serial_ || !busy_ || ended_ || events.empty()) return;
    if (!head_sent_) send_head();
    queue(chunked_ ? fmt::format("{:x}\r\n{}\r\n", events.size(), events) : events);
  }
  void end(uint64_t serial) {
    if (closed_ || serial != serial_ || !busy_ || ended_) return;
    if (!head_sent_) send_head();
    ended_ = true;
    if (chunked_) queue("0\r\n\r\n");
    if (!writing_) flushed();
  }
  void on_gone(uint64_t serial, std::function<void()> call) {
    if (serial != serial_ || ended_) return;  // it has its answer
    if (closed_) return call();
    gone_ = std::move(call);
    if (half_closed_ && !head_sent_) send_head();
  }

 private:
  template <class Method, class... Args>
  auto bind(Method method, Args... args) {
    return [self = shared_from_this(), method, args...](auto&&... results) {
      if (!self->closed_) ((*self).*method)(args..., std::forward<decltype(results)>(results)...);
    };
  }

  void arm(asio::steady_timer& timer, double seconds, void (Session::*late)()) {
    timer.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(seconds)));
    timer.async_wait([self = shared_from_this(), late](ErrorCode error) {
      if (!error && !self->closed_) ((*self).*late)();
    });
  }

  static ServerResponse plain(int status, const std::string& why) {
    const char* type = status >= 500 ? "server_error" : "invalid_request_error";
    return {.status = status,
            .body = fmt::format(R"({{"error":{{"message":"{}","type":"{}","param":null,"code":null}}}})", why,
                                type)};
  }

  std::string head(int status, const std::string& type,
                   const std::vector<std::pair<std::string, std::string>>& headers) const {
    std::string out = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\n", status,
                                  reason_phrase(status), http_date(), type);
    for (const auto& [name, value] : headers) out += fmt::format("{}: {}\r\n", name, value);
    return out + (keep_alive_ && !all_.draining ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
  }

  // The head of a stream, or the early head of a half-closed connection, whose body the close ends.
  void send_head() {
    if (half_closed_ || version_ < 11) keep_alive_ = false;
    chunked_ = streaming_ && version_ >= 11;
    std::string out =
        head(200, streaming_ ? "text/event-stream; charset=utf-8" : "application/json",
             streaming_ ? std::vector<std::pair<std::string, std::string>>{{"Cache-Control", "no-store"}}
                        : std::vector<std::pair<std::string, std::string>>{});
    if (chunked_) out += "Transfer-Encoding: chunked\r\n";
    head_sent_ = true;
    queue(out + "\r\n");
  }

  void next_request() {
    ++serial_;
    busy_ = ended_ = head_sent_ = streaming_ = chunked_ = is_head_ = false;
    gone_ = {};
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(all_.limits.header_bytes));
    parser_->body_limit(all_.limits.body_bytes);
    if (buffer_.size() > 0) return read_header();
    if (half_closed_) return close();
    arm(timer_, all_.limits.idle_s, &Session::close);
    watch();
  }

  // Waits for bytes: those of the next request, or the end of a client whose request is being answered. If
  // bytes of a later request are there already, only an error is waited for.
  void watch() {
    if (watching_) return;
    if (buffer_.size() > 0) return watch_for_errors();
    watching_ = true;
    socket_.async_read_some(buffer_.prepare(4096), bind(&Session::watched));
  }
  void watched(ErrorCode error, size_t bytes) {
    watching_ = false;
    buffer_.commit(bytes);
    if (error == asio::error::eof) {
      half_closed_ = true;
      keep_alive_ = false;
      if (!busy_) return close();
      if (gone_ && !head_sent_) send_head();
      return watch_for_errors();
    }
    if (rejected_) return;
    if (error) return close();
    if (!busy_) return read_header();
    watch();
  }
  void watch_for_errors() { socket_.async_wait(tcp::socket::wait_error, bind(&Session::broken)); }
  void broken(ErrorCode error) {
    if (error != asio::error::operation_aborted) close();
  }

  void read_header() {
    reading_ = true;
    arm(timer_, all_.limits.header_s, &Session::slow_request);
    http::async_read_header(socket_, buffer_, *parser_, bind(&Session::header_read));
  }
  void slow_request() { reject(408, "the request took too long to arrive"); }

  void header_read(ErrorCode error, size_t) {
    if (rejected_) return;
    if (error) return reject_for(error);
    const auto& request = parser_->get();
    version_ = static_cast<int>(request.version());
    keep_alive_ = request.keep_alive() && !all_.draining;
    arm(timer_, all_.limits.body_s, &Session::slow_request);
    if (beast::iequals(request[http::field::expect], "100-continue")) {
      expected_ = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(socket_, asio::buffer(expected_), bind(&Session::continued));
      return;
    }
    continued({}, 0);
  }
  void continued(ErrorCode error, size_t) {
    if (rejected_) return;
    if (error) return close();
    http::async_read(socket_, buffer_, *parser_, bind(&Session::body_read));
  }

  void body_read(ErrorCode error, size_t) {
    if (rejected_) return;
    if (error) return reject_for(error);
    reading_ = false;
    timer_.cancel();
    busy_ = true;
    auto request = parser_->release();
    const auto text = [](beast::string_view view) { return std::string(view.data(), view.size()); };
    is_head_ = request.method() == http::verb::head;
    const std::string target = text(request.target());
    const size_t path = std::min(target.find('?'), target.size());
    ServerRequest out{.method = is_head_ ? "GET" : text(request.method_string()),
                      .target = target.substr(0, path),
                      .query = target.substr(std::min(path + 1, target.size())),
                      .body = std::move(request.body()),
                      .authorization = text(request[http::field::authorization]),
                      .api_key = text(request["X-Api-Key"]),
                      .origin = text(request[http::field::origin]),
                      .host = text(request[http::field::host]),
                      .if_none_match = text(request[http::field::if_none_match])};
    watch();
    all_.handler(std::move(out), reply());
  }

  void reject_for(ErrorCode error) {
    if (error == http::error::end_of_stream ||
        error.category() != make_error_code(http::error::bad_value).category())
      return close();
    if (error == http::error::header_limit)
      return reject(431, fmt::format("the headers are larger than {} bytes", all_.limits.header_bytes));
    if (error == http::error::body_limit)
      return reject(413, fmt::format("the body is larger than {} bytes", all_.limits.body_bytes));
    if (error == http::error::partial_message) return close();
    reject(400, fmt::format("the request is not HTTP/1.1: {}", error.message()));
  }

  // Refuses a request that has not been read to its end. What the client still sends is read and dropped for
  // a while, so that it does not lose the answer to a reset.
  void reject(int status, const std::string& why) {
    rejected_ = true;
    keep_alive_ = false;
    reading_ = false;
    busy_ = true;
    ErrorCode ignored;
    timer_.cancel();
    socket_.cancel(ignored);  // a read in progress
    send(serial_, plain(status, why));
  }
  void linger() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    arm(timer_, kDiscardSeconds, &Session::close);
    discard({}, 0);
  }
  void discard(ErrorCode error, size_t bytes) {
    discarded_ += bytes;
    if (error || discarded_ > kDiscarded) return close();
    buffer_.consume(buffer_.size());
    socket_.async_read_some(buffer_.prepare(size_t{64} << 10), bind(&Session::discard));
  }

  void queue(std::string bytes) {
    if (closed_) return;
    unsent_ += bytes;
    if (unsent_.size() > all_.limits.unsent_bytes && writing_) return close();
    if (!writing_) send_unsent();
  }
  void send_unsent() {
    writing_ = true;
    sending_ = std::exchange(unsent_, {});
    sent_ = 0;
    send_some();
  }
  // One write at a time, so that the timer sees every progress.
  void send_some() {
    arm(write_timer_, all_.limits.write_s, &Session::close);
    socket_.async_write_some(asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                             bind(&Session::sent));
  }
  void sent(ErrorCode error, size_t bytes) {
    if (error) return close();
    sent_ += bytes;
    if (sent_ < sending_.size()) return send_some();
    write_timer_.cancel();
    writing_ = false;
    if (!unsent_.empty()) return send_unsent();
    flushed();
  }
  // Everything that was to be sent is sent.
  void flushed() {
    if (!ended_ || !busy_) return;
    busy_ = false;
    if (rejected_) return linger();
    if (!keep_alive_ || all_.draining) return close();
    next_request();
  }

  std::shared_ptr<HttpReply> reply();

  tcp::socket socket_;
  asio::steady_timer timer_, write_timer_;
  Sessions& all_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string expected_, unsent_, sending_;
  size_t sent_ = 0, discarded_ = 0;
  uint64_t serial_ = 0;  // of the request
  int version_ = 11;
  std::function<void()> gone_;
  bool keep_alive_ = true, half_closed_ = false, closed_ = false, rejected_ = false;
  bool watching_ = false, reading_ = false, writing_ = false;
  // The request is being answered; its answer is complete; its head is sent.
  bool busy_ = false, ended_ = false, head_sent_ = false;
  bool streaming_ = false, chunked_ = false, is_head_ = false;
};

class SessionReply final : public HttpReply {
 public:
  SessionReply(std::shared_ptr<Session> session, uint64_t serial, asio::any_io_executor executor)
      : session_(std::move(session)), serial_(serial), executor_(std::move(executor)) {}

  void send(ServerResponse response) override {
    post([this_ = session_, serial = serial_, r = std::move(response)]() mutable {
      this_->send(serial, std::move(r));
    });
  }
  void will_stream() override {
    post([this_ = session_, serial = serial_] { this_->will_stream(serial); });
  }
  void write(std::string events) override {
    post([this_ = session_, serial = serial_, e = std::move(events)] { this_->write(serial, e); });
  }
  void end() override {
    post([this_ = session_, serial = serial_] { this_->end(serial); });
  }
  void on_gone(std::function<void()> call) override {
    post([this_ = session_, serial = serial_, c = std::move(call)]() mutable {
      this_->on_gone(serial, std::move(c));
    });
  }

 private:
  template <class Call>
  void post(Call call) {
    asio::post(executor_, std::move(call));
  }
  std::shared_ptr<Session> session_;
  uint64_t serial_;
  asio::any_io_executor executor_;
};

std::shared_ptr<HttpReply> Session::reply() {
  return std::make_shared<SessionReply>(shared_from_this(), serial_, socket_.get_executor());
}

}  // namespace

struct HttpServer::Impl {
  Impl(const HttpLimits& limits, Handler handler) : acceptor(io), retry(io), last_moment(io) {
    sessions.limits = limits;
    sessions.handler = std::move(handler);
    sessions.emptied = [this] { last_moment.cancel(); };
  }

  void accept() {
    acceptor.async_accept([this](ErrorCode error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {  // most likely no file descriptor is left: those in use may end
        retry.expires_after(std::chrono::milliseconds(100));
        retry.async_wait([this](ErrorCode stopped) {
          if (!stopped && acceptor.is_open()) accept();
        });
        return;
      }
      auto session = std::make_shared<Session>(std::move(socket), sessions);
      sessions.open.insert(session);
      if (++sessions.count > sessions.limits.connections) {
        session->refuse(503, "too many connections");
      } else {
        session->begin();
      }
      accept();
    });
  }

  void drain() {
    if (sessions.draining) return;
    sessions.draining = true;
    close_acceptor();
    const auto open = sessions.open;
    for (const auto& session : open) session->drain();
    // With the last session the io_context runs out of work, and run() returns.
  }

  void stop() {
    drain();
    if (sessions.open.empty()) return;
    last_moment.expires_after(std::chrono::seconds(1));
    last_moment.async_wait([this](ErrorCode error) {
      if (!error) close_all();
    });
  }

  void close_all() {
    const auto open = sessions.open;
    for (const auto& session : open) session->close();
  }

  void close_acceptor() {
    ErrorCode ignored;
    acceptor.close(ignored);
    retry.cancel();
  }

  asio::io_context io;
  tcp::acceptor acceptor;
  asio::steady_timer retry, last_moment;
  Sessions sessions;
  tcp::endpoint bound;
};

HttpServer::HttpServer(const std::string& host, int port, const HttpLimits& limits, Handler handler)
    : impl_(std::make_unique<Impl>(limits, std::move(handler))) {
  ErrorCode error;
  tcp::resolver resolver(impl_->io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty())
    throw Error(fmt::format("--host {}: {}", host, error ? error.message() : "no such address"));
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor& acceptor = impl_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    throw Error(fmt::format("port {} of {} is in use: choose another with --port, or 0 for any free one",
                            port, endpoint.address().to_string()));
  }
  if (!error) impl_->bound = acceptor.local_endpoint(error);
  if (error) throw Error(fmt::format("cannot listen on {}, port {}: {}", host, port, error.message()));
  impl_->accept();
}

HttpServer::~HttpServer() {
  impl_->close_all();
}

int HttpServer::port() const {
  return impl_->bound.port();
}
std::string HttpServer::address() const {
  return impl_->bound.address().to_string();
}
bool HttpServer::is_loopback() const {
  return impl_->bound.address().is_loopback();
}
int64_t HttpServer::connections() const {
  return impl_->sessions.count;
}

void HttpServer::run() {
  impl_->io.run();
}

void HttpServer::drain() {
  asio::post(impl_->io, [this] { impl_->drain(); });
}

void HttpServer::stop() {
  asio::post(impl_->io, [this] { impl_->stop(); });
}

std::string reason_phrase(int status) {
  const beast::string_view text = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  return {text.data(), text.size()};
}

}  // namespace r1
