#include "base/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <deque>
#include <exception>
#include <optional>

#include "base/ascii.h"
#include "base/http_proxy.h"

namespace r1 {
namespace {

using Kind = HttpError::Kind;
using HttpClock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 128 << 10;
constexpr size_t kIdleConnections = 8;
// The body of an answer that is an error is only shown; what is beyond is dropped with the connection.
constexpr int64_t kMaxErrorBody = 1 << 20;

HttpClock::time_point after(double seconds) {
  return HttpClock::now() +
         std::chrono::duration_cast<HttpClock::duration>(std::chrono::duration<double>(seconds));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}
bool is_passing(int status) {
  return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}
bool is_passing(Kind kind) {
  return kind == Kind::connect || kind == Kind::timeout || kind == Kind::cut;
}

struct Connection {
  std::string key;  // scheme, host, port and proxy
  std::unique_ptr<HttpSocket> socket;
};

// Ends the reading of an answer early: an error's body is too long, or the sink has thrown.
struct EnoughRead {};

}  // namespace

double retry_after_seconds(std::string_view value, int64_t now) {
  const std::string text(trim(value));
  if (!text.empty() && std::ranges::all_of(text, is_digit))
    return text.size() > 9 ? 1e9 : static_cast<double>(std::stol(text));
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return -1;
  return static_cast<double>(std::max<int64_t>(0, static_cast<int64_t>(::timegm(&parts)) - now));
}

struct HttpClient::Impl {
  HttpOptions options;
  std::unique_ptr<TlsTrust> trust;
  std::deque<Connection> idle;
  HttpClock::time_point end = HttpClock::time_point::max();  // of the request in progress

  // The sooner of a wait of `seconds` and the end of the whole request.
  HttpWait wait(double seconds, std::string overdue) const {
    HttpWait out{.until = after(seconds), .overdue = std::move(overdue), .stop = options.stop};
    if (end < out.until) {
      out.until = end;
      out.overdue = fmt::format("it gave no answer within {} s", options.total_s);
    }
    return out;
  }
  HttpWait connect_wait() const {
    return wait(options.connect_s, fmt::format("no connection within {} s", options.connect_s));
  }
  HttpWait idle_wait() const {
    return wait(options.idle_s, fmt::format("nothing came for {} s", options.idle_s));
  }

  std::unique_ptr<HttpSocket> open(const HttpUrl& url, const std::optional<HttpProxy>& proxy) {
    const HttpUrl& next = proxy ? proxy->url : url;
    std::unique_ptr<HttpSocket> socket;
    try {
      socket = std::make_unique<HttpSocket>(next.host, next.port, connect_wait());
      if (url.tls && proxy) tunnel(*socket, url, *proxy);
    } catch (const HttpError& e) {
      if (!proxy || e.kind == Kind::stopped) throw;
      throw HttpError(e.kind, fmt::format("the proxy {}: {}", proxy->url.authority(), e.what()));
    }
    if (url.tls) {
      if (!trust) trust = std::make_unique<TlsTrust>();
      socket->start_tls(*trust, url.host, connect_wait());
    }
    return socket;
  }

  void tunnel(HttpSocket& socket, const HttpUrl& url, const HttpProxy& proxy) const {
    const std::string to = url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
    std::vector<HttpHeader> headers{{"Host", to + ":" + url.port}, {"User-Agent", "r1"}};
    if (!proxy.authorization.empty()) headers.push_back({"Proxy-Authorization", proxy.authorization});
    socket.write(http_request_text("CONNECT", to + ":" + url.port, headers, ""), connect_wait());
    HttpResponseReader reader(
        true, [] {}, [](std::string_view) {});
    // Byte by byte: what follows the header belongs to the tunnel.
    for (char byte = 0; !reader.has_header();) {
      if (socket.read(std::span(&byte, 1), connect_wait()) == 0)
        throw HttpError(Kind::connect, "it closed the connection");
      try {
        reader.feed({&byte, 1});
      } catch (const Error& e) {
        throw HttpError(Kind::connect, e.what());
      }
    }
    if (reader.status() / 100 != 2)
      throw HttpError(Kind::connect, fmt::format("it refused with status {}", reader.status()));
  }

  std::string request_bytes(const HttpRequest& request, const HttpUrl& url, bool with_authorization,
                            const std::optional<HttpProxy>& proxy) const {
    std::vector<HttpHeader> headers{
        {"Host", url.authority()}, {"User-Agent", "r1"}, {"Accept-Encoding", "identity"}};
    if (proxy && !url.tls && !proxy->authorization.empty())
      headers.push_back({"Proxy-Authorization", proxy->authorization});
    for (const HttpHeader& h : request.headers) {
      if (with_authorization || !equal_ignoring_case(h.name, "authorization")) headers.push_back(h);
    }
    return http_request_text(request.method, proxy && !url.tls ? url.text() : url.target, headers,
                             request.body);
  }

  // Sends one request and reads its answer. `begun` is set once a byte of the answer has come.
  HttpResponse exchange(HttpSocket& socket, const std::string& bytes, const HttpRequest& request,
                        const HttpUrl& url, const HttpSink& sink, bool& begun, bool& given, bool& reusable) {
    HttpResponse response;
    response.url = url;
    bool to_sink = false;
    std::exception_ptr from_sink;
    const auto give = [&](const auto& call) {
      try {
        call();
      } catch (...) {
        from_sink = std::current_exception();
        throw EnoughRead{};
      }
    };
    HttpResponseReader* reading = nullptr;
    HttpResponseReader reader(
        request.method == "HEAD",
        [&] {
          response.status = reading->status();
          response.headers = reading->headers();
          const std::string* encoding = response.header("content-encoding");
          if (encoding != nullptr && !equal_ignoring_case(*encoding, "identity"))
            throw HttpError(Kind::answer,
                            fmt::format("its answer is compressed ({}), which was not asked for",
                                        shown_ascii(*encoding)));
          to_sink = sink.take && response.status / 100 == 2;
          if (to_sink) given = true;
          if (to_sink && sink.begin) give([&] { sink.begin(response); });
        },
        [&](std::string_view piece) {
          if (to_sink) return give([&] { sink.take(piece); });
          response.body.append(piece);
          const auto size = static_cast<int64_t>(response.body.size());
          if (response.status / 100 != 2 && size > kMaxErrorBody) throw EnoughRead{};
          if (size > options.max_body)
            throw HttpError(Kind::answer,
                            fmt::format("its answer is longer than {} MiB", options.max_body >> 20));
        });
    reading = &reader;
    reusable = false;
    socket.write(bytes, idle_wait());
    std::vector<char> buffer(kReadBytes);
    while (!reader.done()) {
      const size_t n = socket.read(buffer, idle_wait());
      begun |= n > 0;
      try {
        if (n == 0) {
          reader.end();
        } else {
          reader.feed({buffer.data(), n});
        }
      } catch (const EnoughRead&) {
        if (from_sink) std::rethrow_exception(from_sink);
        return response;
      } catch (const HttpError&) {
        throw;
      } catch (const Error& e) {
        throw HttpError(n == 0 ? Kind::cut : Kind::answer, e.what());
      }
    }
    reusable = reader.keep_alive();
    return response;
  }

  // One request without redirects. A connection that was kept may have been closed meanwhile; the request then
  // goes over a new one.
  HttpResponse once(const HttpRequest& request, const HttpUrl& url, bool with_authorization,
                    const HttpSink& sink, bool& given) {
    const std::optional<HttpProxy> proxy = proxy_for(url);
    const std::string key = url.origin() + (proxy ? " " + proxy->url.authority() : "");
    const std::string bytes = request_bytes(request, url, with_authorization, proxy);
    for (;;) {
      const auto kept = std::ranges::find(idle, key, &Connection::key);
      std::unique_ptr<HttpSocket> socket;
      const bool reused = kept != idle.end();
      if (reused) {
        socket = std::move(kept->socket);
        idle.erase(kept);
        if (socket->stale()) continue;
      } else {
        socket = open(url, proxy);
      }
      bool begun = false, reusable = false;
      try {
        HttpResponse response = exchange(*socket, bytes, request, url, sink, begun, given, reusable);
        if (reusable) idle.push_back({key, std::move(socket)});
        if (idle.size() > kIdleConnections) idle.pop_front();
        return response;
      } catch (const HttpError& e) {
        if (!reused || begun || e.kind != Kind::cut) throw;
      }
    }
  }

  // Follows redirects.
  HttpResponse follow(const HttpRequest& request, const HttpSink& sink, bool& given) {
    HttpUrl url = request.url;
    bool with_authorization = true;
    for (int hops = 0;; ++hops) {
      try {
        HttpResponse response = once(request, url, with_authorization, sink, given);
        const std::string* location = response.header("location");
        if (!is_redirect(response.status) || location == nullptr || request.method == "POST") return response;
        if (hops == options.redirects)
          throw HttpError(Kind::redirect, fmt::format("more than {} redirects", options.redirects));
        const HttpUrl next = redirect_target(url, *location);
        with_authorization = with_authorization && next.same_origin(url);
        url = next;
      } catch (const HttpError& e) {
        throw HttpError(e.kind, fmt::format("{}: {}", url.origin(), e.what()));
      }
    }
  }

  static HttpUrl redirect_target(const HttpUrl& from, const std::string& location) {
    HttpUrl next;
    try {
      next = resolve_http_url(from, location);
    } catch (const Error& e) {
      throw HttpError(Kind::redirect, fmt::format("it redirects to {}", e.what()));
    }
    if (from.tls && !next.tls)
      throw HttpError(Kind::redirect,
                      fmt::format("it redirects to {}, which is not encrypted", next.origin()));
    return next;
  }

  void pause(const std::string& why, double seconds) const {
    if (options.on_wait) options.on_wait(why, seconds);
    if (end < after(seconds)) throw HttpError(Kind::timeout, why);
    pause_for(seconds, options.stop);
  }
};

HttpClient::HttpClient(HttpOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
HttpClient::~HttpClient() = default;

HttpResponse HttpClient::send(const HttpRequest& request, const HttpSink& sink) {
  Impl& m = *impl_;
  R1_CHECK(request.method == "GET" || request.method == "HEAD" || request.method == "POST", request.method);
  m.end = m.options.total_s > 0 ? after(m.options.total_s) : HttpClock::time_point::max();
  const int tries = request.method == "POST" ? 0 : m.options.retries;
  for (int attempt = 0;; ++attempt) {
    const double backoff = m.options.backoff_s * std::ldexp(1.0, attempt);
    bool given = false;
    try {
      HttpResponse response = m.follow(request, sink, given);
      if (!is_passing(response.status) || attempt >= tries) return response;
      const std::string* asked = response.header("retry-after");
      const double wanted = asked == nullptr ? -1 : retry_after_seconds(*asked, ::time(nullptr));
      if (wanted > m.options.longest_wait_s) return response;
      m.pause(fmt::format("{}: status {}", response.url.origin(), response.status),
              wanted < 0 ? backoff : wanted);
    } catch (const HttpError& e) {
      if (!is_passing(e.kind) || given || attempt >= tries) throw;
      m.pause(e.what(), backoff);
    }
  }
}

}  // namespace r1
