// The HTTP side: connections that are kept, cut, half-closed, slow or hostile.
#include <chrono>
#include <thread>

#include "tests/server/server_test_util.h"

namespace r1::http_test {
namespace {

using namespace test;

TestServer& server() {
  static TestServer one;
  return one;
}

TEST(Http, AConnectionServesManyRequestsAlsoPipelined) {
  Connection connection(server().port());
  for (int i = 0; i < 3; ++i) {
    connection.send(request_text("GET", "/health"));
    EXPECT_EQ(read_answer(connection).status, 200);
    connection.send(request_text("POST", "/v1/chat/completions", question().set("max_tokens", 2).dump()));
    EXPECT_EQ(read_answer(connection).status, 200);
  }
  connection.send(request_text("GET", "/health") +
                  request_text("POST", "/v1/chat/completions",
                               question().set("max_tokens", 2).set("stream", true).dump()) +
                  request_text("GET", "/v1/models") + request_text("GET", "/nothing"));
  EXPECT_EQ(read_answer(connection).status, 200);
  EXPECT_TRUE(events_of(read_answer(connection).body).done);
  EXPECT_EQ(read_answer(connection).status, 200);
  EXPECT_EQ(read_answer(connection).status, 404);
}

TEST(Http, ConnectionCloseAndHttp10AreHonoured) {
  Connection one(server().port());
  one.send(request_text("GET", "/health", "", "Connection: close\r\n"));
  const HttpAnswer answer = read_answer(one);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  one.read_until([](const std::string&) { return false; });
  EXPECT_TRUE(one.ended());
  Connection old(server().port());
  const std::string body = question().set("max_tokens", 3).set("stream", true).dump();
  old.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body);
  const HttpAnswer stream = read_answer(old);
  EXPECT_NE(stream.headers.at("transfer-encoding"), "chunked");
  EXPECT_TRUE(events_of(stream.body).done);
}

TEST(Http, AnEmptyChunkedBodyMayComeByteByByte) {
  Connection connection(server().port());
  connection.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  // Each piece is a read of its own if the server is not busy.
  for (const char* piece : {"0\r\n", "\r", "\n"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    connection.send(piece);
  }
  EXPECT_EQ(read_answer(connection).status, 400);
  Connection other(server().port());
  other.send(request_text("GET", "/health"));
  EXPECT_EQ(read_answer(other).status, 200);
}

TEST(Http, HeadHasNoBodyAndExpectIsAnswered) {
  Connection connection(server().port());
  connection.send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + request_text("GET", "/nothing"));
  const std::string& text =
      connection.read_until([](const std::string& t) { return t.find("404") != std::string::npos; });
  const size_t end = text.find("\r\n\r\n");
  EXPECT_EQ(text.substr(end + 4, 8), "HTTP/1.1");
  Connection other(server().port());
  const std::string body = question().set("max_tokens", 1).dump();
  other.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  other.read_until([](const std::string& t) { return t.ends_with("\r\n\r\n"); });
  EXPECT_EQ(other.take(12), "HTTP/1.1 100");
}

TEST(Http, MalformedRequestsAreRefusedAndTheConnectionClosed) {
  const std::string cases[] = {
      "hello\r\n\r\n",
      "GET\r\n\r\n",
      "GET /health HTTP/9.9\r\n\r\n",
      "GET /health HTTP/1.1\r\nbad header\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nContent-Length: many\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) +
          "\r\n\r\n",  // a client that speaks TLS
  };
  for (const std::string& text : cases) {
    Connection connection(server().port());
    connection.send(text);
    const HttpAnswer answer = read_answer(connection);
    EXPECT_EQ(answer.status, 400) << text << answer.body;
    EXPECT_EQ(answer.json().at("error").get_string("type"), "invalid_request_error");
    connection.read_until([](const std::string&) { return false; });
    EXPECT_TRUE(connection.ended());
  }
  EXPECT_EQ(server().ask("GET", "/health").status, 200);
}

TEST(Http, MalformedJsonIsRefusedAndTheConnectionGoesOn) {
  Connection connection(server().port());
  const std::string deep(100000, '[');
  for (const std::string& body : {std::string("{"), std::string("{\"a\":}"), deep, std::string("\xff\xfe"),
                                  std::string("{\"messages\":[]} x"), std::string("nul")}) {
    connection.send(request_text("POST", "/v1/chat/completions", body));
    const HttpAnswer answer = read_answer(connection);
    EXPECT_EQ(answer.status, 400);
    EXPECT_NE(answer.json().at("error").get_string("message").find("not JSON"), std::string::npos)
        << answer.body;
  }
  // Nesting that the parser takes, in a field that nobody knows and in one that the template reads.
  const std::string nested = std::string(100, '[') + std::string(100, ']');
  const std::string message = R"("messages":[{"role":"user","content":"hi"}],"max_tokens":1)";
  connection.send(request_text("POST", "/v1/chat/completions", "{" + message + ",\"x\":" + nested + "}"));
  EXPECT_EQ(read_answer(connection).status, 200);
  connection.send(request_text("POST", "/v1/chat/completions",
                               "{" + message + ",\"chat_template_kwargs\":{\"x\":" + nested + "}}"));
  EXPECT_EQ(read_answer(connection).status, 200);
}

TEST(Http, LargeHeadersAndBodiesAreRefused) {
  Connection headers(server().port());
  headers.send("GET /health HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n");
  EXPECT_EQ(read_answer(headers).status, 431);
  // 50 MB, of which the client sends everything before it reads.
  Connection body(server().port());
  constexpr size_t kSize = 50'000'000;
  body.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
            std::to_string(kSize) + "\r\n\r\n");
  const std::string block(1'000'000, 'x');
  for (size_t sent = 0; sent < kSize && body.send(block);) sent += block.size();
  EXPECT_EQ(read_answer(body).status, 413);
  // The body comes in chunks, without a length.
  Connection chunked(server().port());
  chunked.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (size_t sent = 0; sent < kSize && chunked.send("f4240\r\n" + block + "\r\n");) sent += block.size();
  EXPECT_EQ(read_answer(chunked).status, 413);
  EXPECT_EQ(server().ask("GET", "/health").status, 200);
}

TEST(Http, SlowRequestsAreGivenUp) {
  ServerOptions options;
  options.http.header_s = options.http.body_s = 0.2;
  options.http.idle_s = 0.3;
  TestServer other(options);
  Connection loris(other.port());
  loris.send("GET /health HTTP/1.1\r\nX-a: ");
  EXPECT_EQ(read_answer(loris).status, 408);
  Connection body(other.port());
  body.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(read_answer(body).status, 408);
  Connection idle(other.port());
  idle.read_until([](const std::string&) { return false; });
  EXPECT_TRUE(idle.ended());
}

TEST(Http, AHalfClosedConnectionGetsItsAnswer) {
  for (const bool stream : {false, true}) {
    Connection connection(server().port());
    connection.send(request_text("POST", "/v1/chat/completions", question().set("stream", stream).dump()));
    connection.end_sending();
    const HttpAnswer answer = read_answer(connection);
    EXPECT_EQ(answer.status, 200);
    if (stream) {
      EXPECT_TRUE(events_of(answer.body).done);
    } else {
      EXPECT_EQ(content_of(answer.json()), content_of(server().chat(question())));
    }
  }
}

TEST(Http, TooManyConnectionsAreToldSo) {
  ServerOptions options;
  options.http.connections = 3;
  TestServer other(options);
  std::vector<std::unique_ptr<Connection>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(std::make_unique<Connection>(other.port()));
    held.back()->send(request_text("GET", "/health"));
    EXPECT_EQ(read_answer(*held.back()).status, 200);
  }
  EXPECT_EQ(other.ask("GET", "/health").status, 503);
  held.clear();
  int status = 503;
  for (int i = 0; i < 1000 && status == 503; ++i) {
    status = other.ask("GET", "/health").status;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(status, 200);
}

// A reader that stops reading loses its connection, and others do not notice.
TEST(Http, ASlowReaderIsCutOff) {
  ServerOptions options;
  options.http.write_s = 0.3;
  options.http.unsent_bytes = 64 << 10;
  TestServer other(options);
  Connection slow(other.port(), 2048);
  Json body = question().set("stream", true).set("n", 64).set("logprobs", true).set("top_logprobs", 20);
  slow.send(request_text("POST", "/v1/chat/completions", body.set("ignore_eos", true).dump()));
  const Json answer = other.chat(question());
  EXPECT_EQ(content_of(answer), content_of(server().chat(question())));
  const EngineLoop::State state = other.idle_state();
  EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
}

}  // namespace
}  // namespace r1::http_test
