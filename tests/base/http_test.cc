// The HTTP client against servers that redirect, limit, cut, lie, are silent, or are not who they say.
#include <cstdlib>

#include "base/error.h"
#include "base/http_client.h"
#include "base/http_proxy.h"
#include "tests/base/http_test_server.h"

namespace r1::http_test {
namespace {

using test::HttpTestServer;
using test::RawReply;
using test::reply;
using test::SeenRequest;
using Kind = HttpError::Kind;

// Options that make no test wait.
HttpOptions quick() {
  HttpOptions options;
  options.backoff_s = 0.001;
  return options;
}

HttpResponse get(const std::string& url, const HttpOptions& options = quick(),
                 std::vector<HttpHeader> headers = {}) {
  HttpClient client(options);
  return client.send({.url = parse_http_url(url), .headers = std::move(headers), .body = {}});
}

template <class Call>
std::string error_of(Kind kind, const Call& call) {
  try {
    call();
  } catch (const HttpError& e) {
    EXPECT_EQ(static_cast<int>(e.kind), static_cast<int>(kind)) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(HttpUrl, PartsAreRead) {
  const HttpUrl a = parse_http_url("http://Example.org:8080/a/b?c=d");
  EXPECT_EQ(a.host + "|" + a.port + "|" + a.target, "example.org|8080|/a/b?c=d");
  EXPECT_EQ(a.text(), "http://example.org:8080/a/b?c=d");
  EXPECT_EQ(parse_http_url("https://h").text(), "https://h/");
  EXPECT_EQ(parse_http_url("https://h").port, "443");
  EXPECT_EQ(parse_http_url("http://h?q").target, "/?q");
  EXPECT_EQ(parse_http_url("http://[::1]:9/x").host, "::1");
  EXPECT_EQ(parse_http_url("http://[::1]:9/x").authority(), "[::1]:9");
  EXPECT_EQ(parse_http_url("http://h/\xC3\xA9").target, "/%C3%A9");
  for (const char* bad :
       {"ftp://h", "h", "http://", "http://h:0", "http://h:x", "http://u@h", "http://h/a b", "http://[::1/x",
        "http://h/#x", "http://h\r\nX: y/", "http://[::1]x/", "http://a%b/", "http://h\\x/"})
    EXPECT_THROW(parse_http_url(bad), Error) << bad;
}

TEST(HttpUrl, LocationsAreResolvedAgainstTheRequest) {
  const HttpUrl base = parse_http_url("https://h/a/b?c");
  const std::pair<const char*, const char*> cases[] = {{"/x", "https://h/x"},
                                                       {"x?y", "https://h/a/x?y"},
                                                       {"?z", "https://h/a/b?z"},
                                                       {"//g/x", "https://g/x"},
                                                       {"http://g", "http://g/"},
                                                       {"../../../x", "https://h/x"},
                                                       {"/x/./y/../z", "https://h/x/z"},
                                                       {"/x#frag", "https://h/x"},
                                                       {"HTTPS://G/x", "https://g/x"},
                                                       {"", "https://h/a/b?c"},
                                                       {"/x/..", "https://h/"},
                                                       {"/?u=http://y", "https://h/?u=http://y"}};
  for (const auto& [location, want] : cases)
    EXPECT_EQ(resolve_http_url(base, location).text(), want) << location;
  EXPECT_THROW(resolve_http_url(base, "file:///etc/passwd"), Error);
}

TEST(HttpClient, HeadersAndBodiesArriveBothWays) {
  HttpTestServer server(
      [](const SeenRequest& r) { return reply(200, r.method + r.target + r.body, "X-A: b\r\n"); });
  HttpClient client(quick());
  const HttpResponse response = client.send({.method = "POST",
                                             .url = parse_http_url(server.url("/p?q")),
                                             .headers = {{"X-Z", "1"}},
                                             .body = "text"});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "POST/p?qtext");
  EXPECT_EQ(*response.header("x-a"), "b");
  EXPECT_EQ(server.seen()[0].header("x-z"), "1");
  EXPECT_EQ(server.seen()[0].header("host"), "127.0.0.1:" + std::to_string(server.port()));
}

TEST(HttpClient, ConnectionsAreKeptAndAClosedOneIsReplaced) {
  int served = 0;
  HttpTestServer server([&](const SeenRequest&) {
    RawReply out = reply(200, std::to_string(++served));
    out.close = served == 3;  // without saying so
    return out;
  });
  HttpClient client(quick());
  for (int i = 1; i <= 5; ++i)
    EXPECT_EQ(client.send({.url = parse_http_url(server.url("/")), .headers = {}, .body = {}}).body,
              std::to_string(i));
  EXPECT_EQ(server.connections, 2);
}

TEST(HttpClient, ChunkedBodiesInterimAnswersAndBodiesWithoutALengthAreRead) {
  HttpTestServer server([](const SeenRequest& r) -> RawReply {
    if (r.target == "/chunked")
      return {
          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"};
    return {"HTTP/1.1 200 OK\r\n\r\nuntil the end", true};
  });
  EXPECT_EQ(get(server.url("/chunked")).body, "abcde");
  EXPECT_EQ(get(server.url("/close")).body, "until the end");
}

TEST(HttpClient, AnEmptyChunkedBodyMayComeByteByByte) {
  const std::string_view answer =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n";
  for (const size_t piece : {1, 2, 3, 4}) {
    HttpResponseReader reader(
        false, [] {}, [](std::string_view) { ADD_FAILURE(); });
    for (size_t at = 0; at < answer.size(); at += piece) {
      EXPECT_FALSE(reader.done());
      reader.feed(answer.substr(at, piece));
    }
    EXPECT_TRUE(reader.done());
    EXPECT_EQ(reader.status(), 200);
  }
}

TEST(HttpClient, AuthorizationDoesNotFollowARedirectToAnotherHost) {
  HttpTestServer other([](const SeenRequest&) { return reply(200, "there"); });
  HttpTestServer server([&](const SeenRequest& r) {
    if (r.target == "/here") return reply(200, "here");
    return reply(302, "", "Location: " + (r.target == "/a" ? "here" : other.url("/x")) + "\r\n");
  });
  const std::vector<HttpHeader> secret = {{"Authorization", "Bearer secret"}, {"X-Other", "1"}};
  EXPECT_EQ(get(server.url("/a"), quick(), secret).body, "here");
  EXPECT_EQ(server.seen()[1].header("authorization"), "Bearer secret");
  const HttpResponse response = get(server.url("/b"), quick(), secret);
  EXPECT_EQ(response.body, "there");
  EXPECT_EQ(response.url.text(), other.url("/x"));
  EXPECT_EQ(other.seen()[0].header("authorization"), "");
  EXPECT_EQ(other.seen()[0].header("x-other"), "1");
}

TEST(HttpClient, RedirectsEnd) {
  HttpTestServer server(
      [](const SeenRequest& r) { return reply(302, "", "Location: " + r.target + "x\r\n"); });
  EXPECT_NE(error_of(Kind::redirect, [&] { get(server.url("/")); }).find("more than 8 redirects"),
            std::string::npos);
  HttpTestServer wrong([](const SeenRequest&) { return reply(302, "", "Location: ftp://h/\r\n"); });
  error_of(Kind::redirect, [&] { get(wrong.url("/")); });
}

TEST(HttpClient, BusyServersAreAskedAgainAsTheyWish) {
  int asked = 0;
  std::vector<double> waits;
  HttpTestServer server([&](const SeenRequest&) {
    ++asked;
    if (asked == 1) return reply(429, "", "Retry-After: 0\r\n");
    if (asked == 2) return reply(503, "");
    return reply(200, "ok");
  });
  HttpOptions options = quick();
  options.on_wait = [&](const std::string&, double seconds) { waits.push_back(seconds); };
  EXPECT_EQ(get(server.url("/"), options).body, "ok");
  EXPECT_EQ(waits, (std::vector<double>{0, 0.002}));
  // A wait that is too long is the caller's to decide; so is a status that does not pass.
  HttpTestServer slow(
      [](const SeenRequest& r) { return reply(r.target == "/" ? 429 : 404, "", "Retry-After: 3600\r\n"); });
  EXPECT_EQ(get(slow.url("/")).status, 429);
  EXPECT_EQ(get(slow.url("/x")).status, 404);
  EXPECT_EQ(slow.seen().size(), 2u);
}

TEST(HttpClient, APostIsNotRepeated) {
  HttpTestServer server([](const SeenRequest&) { return reply(503, ""); });
  HttpClient client(quick());
  EXPECT_EQ(
      client.send({.method = "POST", .url = parse_http_url(server.url("/")), .headers = {}, .body = "x"})
          .status,
      503);
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST(HttpClient, RetryAfterIsANumberOrADate) {
  EXPECT_EQ(retry_after_seconds(" 120 ", 0), 120);
  EXPECT_EQ(retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT", 1445412470), 10);
  EXPECT_EQ(retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT", 2000000000), 0);
  EXPECT_EQ(retry_after_seconds("99999999999999999999", 0), 1e9);
  for (const char* bad : {"", "-1", "soon", "1.5", "Wed, 21 Oct 2015"})
    EXPECT_EQ(retry_after_seconds(bad, 0), -1) << bad;
}

TEST(HttpClient, CutAnswersAreAskedAgainUnlessASinkHasBegun) {
  int asked = 0;
  HttpTestServer server([&](const SeenRequest&) {
    RawReply whole = reply(200, "0123456789");
    if (++asked % 2 == 1) {
      whole.bytes.resize(whole.bytes.size() - 4);
      whole.close = true;
    }
    return whole;
  });
  EXPECT_EQ(get(server.url("/")).body, "0123456789");
  EXPECT_EQ(asked, 2);
  std::string got;
  HttpClient client(quick());
  const std::string why = error_of(Kind::cut, [&] {
    client.send({.url = parse_http_url(server.url("/")), .headers = {}, .body = {}},
                {.begin = {}, .take = [&](std::string_view piece) { got += piece; }});
  });
  EXPECT_EQ(got, "012345");
  EXPECT_NE(why.find("closed the connection before its answer had ended"), std::string::npos) << why;
}

TEST(HttpClient, ASinkTakesOnlyGoodAnswersAndItsErrorEndsTheRequest) {
  HttpTestServer server([](const SeenRequest& r) { return reply(r.target == "/" ? 200 : 404, "body"); });
  std::string got;
  int status = 0;
  const HttpSink sink{.begin = [&](const HttpResponse& r) { status = r.status; },
                      .take = [&](std::string_view piece) { got += piece; }};
  HttpClient client(quick());
  EXPECT_EQ(client.send({.url = parse_http_url(server.url("/x")), .headers = {}, .body = {}}, sink).body,
            "body");
  EXPECT_EQ(got, "");
  client.send({.url = parse_http_url(server.url("/")), .headers = {}, .body = {}}, sink);
  EXPECT_EQ(got + std::to_string(status), "body200");
  try {
    client.send({.url = parse_http_url(server.url("/")), .headers = {}, .body = {}},
                {.begin = {}, .take = [](std::string_view) { throw Error("the disk is full"); }});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "the disk is full");
  }
}

TEST(HttpClient, AnswersThatAreNotHttpOrTooLongAreRefused) {
  const std::pair<std::string, const char*> cases[] = {
      {"SSH-2.0-OpenSSH\r\n\r\n", "is not HTTP/1.1"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "is not HTTP/1.1"},
      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "is not HTTP/1.1"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "is not HTTP/1.1"},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x') + "\r\n\r\n", "longer than 64 KiB"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "sent more than its answer"},
      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", "is compressed"},
      {reply(200, std::string(2 << 20, 'x')).bytes, "longer than 1 MiB"}};
  for (const auto& [bytes, want] : cases) {
    HttpTestServer server([&](const SeenRequest&) -> RawReply { return {bytes, true}; });
    HttpOptions options = quick();
    options.max_body = 1 << 20;
    const std::string why = error_of(Kind::answer, [&] { get(server.url("/"), options); });
    EXPECT_NE(why.find(want), std::string::npos) << why;
    EXPECT_TRUE(why.starts_with(server.url() + ": ")) << why;
  }
}

struct ScopedVariable {
  ScopedVariable(const char* name, const std::string& value) : name(name) {
    const char* now = std::getenv(name);
    if (now != nullptr) before = now;
    had = now != nullptr;
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() { had ? ::setenv(name, before.c_str(), 1) : ::unsetenv(name); }
  const char* name;
  std::string before;
  bool had;
};

TEST(HttpClient, NobodyThereIsSaid) {
  std::string url;
  {
    HttpTestServer gone([](const SeenRequest&) { return reply(200, ""); });
    url = gone.url();
  }
  EXPECT_EQ(error_of(Kind::connect, [&] { get(url); }), url + ": the connection was refused");
  const ScopedVariable direct("http_proxy", "");
  // No name server is asked for a label of more than 63 characters.
  const std::string host = std::string(64, 'x') + ".invalid";
  const std::string why = error_of(Kind::no_host, [&] { get("http://" + host + "/"); });
  EXPECT_NE(why.find("http://" + host + ": the host " + host + " is not found"), std::string::npos) << why;
}

TEST(HttpClient, ASilentServerTimesOutAndAStopEndsTheWait) {
  std::atomic<bool> end{false};
  HttpTestServer server([&](const SeenRequest&) {
    while (!end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return reply(200, "");
  });
  HttpOptions options = quick();
  options.retries = 0;
  options.idle_s = 0.1;
  EXPECT_NE(error_of(Kind::timeout, [&] { get(server.url(), options); }).find("nothing came for 0.1 s"),
            std::string::npos);
  options.idle_s = 60;
  options.total_s = 0.1;
  EXPECT_NE(
      error_of(Kind::timeout, [&] { get(server.url(), options); }).find("it gave no answer within 0.1 s"),
      std::string::npos);
  options.total_s = 0;
  std::atomic<int> asked{0};
  options.stop = [&] { return ++asked > 2; };
  EXPECT_NE(error_of(Kind::stopped, [&] { get(server.url(), options); }).find("it was stopped"),
            std::string::npos);
  end = true;
}

TEST(HttpClient, HeadersCannotSmuggleLines) {
  HttpTestServer server([](const SeenRequest&) { return reply(200, ""); });
  EXPECT_THROW(get(server.url(), quick(), {{"X", "a\r\nY: b"}}), Error);
  EXPECT_THROW(get(server.url(), quick(), {{"X Y", "a"}}), Error);
  EXPECT_EQ(server.seen().size(), 0u);
}

TEST(HttpClient, CertificatesAreVerifiedAgainstSslCertFile) {
  const test::TestCertificate good("IP:127.0.0.1"), other("DNS:elsewhere.example");
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("r1-http-test-" + std::to_string(::getpid()) + ".pem");
  write_file_atomically(file, good.pem() + other.pem());
  {
    HttpTestServer server([](const SeenRequest&) { return reply(200, "secret"); }, &good);
    const std::string why = error_of(Kind::tls, [&] { get(server.url()); });
    EXPECT_NE(why.find(server.url() + ": its certificate is not accepted: self-signed certificate"),
              std::string::npos)
        << why;
    const ScopedVariable trust("SSL_CERT_FILE", file.string());
    HttpClient client(quick());
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(client.send({.url = parse_http_url(server.url()), .headers = {}, .body = {}}).body, "secret");
    EXPECT_EQ(server.connections, 2);  // the refused one and the kept one
    HttpTestServer impostor([](const SeenRequest&) { return reply(200, ""); }, &other);
    const std::string name = error_of(Kind::tls, [&] { get(impostor.url()); });
    EXPECT_NE(name.find("IP address mismatch"), std::string::npos) << name;
    HttpTestServer downgrade(
        [&](const SeenRequest&) { return reply(302, "", "Location: http://127.0.0.1:1/\r\n"); }, &good);
    EXPECT_NE(error_of(Kind::redirect, [&] { get(downgrade.url()); }).find("which is not encrypted"),
              std::string::npos);
    HttpTestServer plain([](const SeenRequest&) { return reply(400, ""); });
    plain.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n";
    const std::string spoken =
        error_of(Kind::tls, [&] { get("https://127.0.0.1:" + std::to_string(plain.port())); });
    EXPECT_NE(spoken.find("does not speak TLS"), std::string::npos) << spoken;
  }
  std::filesystem::remove(file);
}

TEST(HttpProxy, TheEnvironmentDecides) {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) {
    const auto at = variables.find(name);
    return at == variables.end() ? nullptr : at->second.c_str();
  };
  const auto proxy = [&](const char* url) {
    const auto found = proxy_for(parse_http_url(url), environment);
    return found ? found->url.text() + " " + found->authorization : "none";
  };
  EXPECT_EQ(proxy("https://a.example/"), "none");
  variables = {
      {"HTTPS_PROXY", "http://p:3128"}, {"http_proxy", "u:p%40ss@q"}, {"NO_PROXY", "x.example, .y.example"}};
  EXPECT_EQ(proxy("https://a.example/"), "http://p:3128/ ");
  EXPECT_EQ(proxy("http://a.example/"), "http://q/ Basic dTpwQHNz");
  EXPECT_EQ(proxy("https://x.example/"), "none");
  EXPECT_EQ(proxy("https://b.y.example/"), "none");
  EXPECT_EQ(proxy("https://ax.example/"), "http://p:3128/ ");
  EXPECT_EQ(proxy("https://localhost/"), "none");
  EXPECT_EQ(proxy("https://127.0.0.1/"), "none");
  variables["NO_PROXY"] = "*";
  EXPECT_EQ(proxy("https://a.example/"), "none");
  variables = {{"HTTPS_PROXY", "socks5://p"}};
  EXPECT_THROW(proxy("https://a.example/"), Error);
}

TEST(HttpProxy, RequestsGoThroughIt) {
  HttpTestServer proxy(
      [](const SeenRequest& r) { return r.method == "CONNECT" ? reply(403, "") : reply(200, r.target); });
  const std::string url = "http://user:word@127.0.0.1:" + std::to_string(proxy.port());
  const ScopedVariable plain("http_proxy", url), tls("https_proxy", url), none("no_proxy", "");
  EXPECT_EQ(get("http://r1.invalid/x?y").body, "http://r1.invalid/x?y");
  EXPECT_EQ(proxy.seen()[0].header("host"), "r1.invalid");
  EXPECT_EQ(proxy.seen()[0].header("proxy-authorization"), "Basic dXNlcjp3b3Jk");
  HttpOptions options = quick();
  options.retries = 0;
  const std::string why = error_of(Kind::connect, [&] { get("https://r1.invalid/x", options); });
  EXPECT_NE(why.find("it refused with status 403"), std::string::npos) << why;
  EXPECT_EQ(proxy.seen()[1].target, "r1.invalid:443");
}

}  // namespace
}  // namespace r1::http_test
