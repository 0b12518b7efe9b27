// tests/server/server_test_util.h: a server over r1-nano in this process, and a client of plain sockets.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "formats/json.h"
#include "server/server.h"
#include "tensor/workspace.h"

namespace r1::test {

constexpr int kPatienceMs = 60000;  // no test waits so long unless it fails

inline const ModelBundle& nano() {
  static const ModelBundle bundle = ModelBundle::load(std::filesystem::path(R1_SOURCE_DIR) / "models/r1-nano",
                                                      DType::f32, WeightUse::inference);
  return bundle;
}

// A TCP connection to a port of this machine.
class Connection {
 public:
  explicit Connection(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(); }

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  // Closes with a reset instead of an end of data.
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void end_sending() { ::shutdown(fd_, SHUT_WR); }

  // Returns false if the other side takes no more.
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Reads until `is_enough` holds for everything that was read, or the connection ends. Returns what was read
  // and not yet taken.
  const std::string& read_until(const std::function<bool(const std::string&)>& is_enough) {
    while (!is_enough(read_) && !ended_) {
      pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, kPatienceMs) <= 0) {
        ADD_FAILURE() << "nothing came for a minute";
        ended_ = true;
        break;
      }
      char chunk[65536];
      const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
      if (n <= 0) ended_ = true;
      if (n > 0) read_.append(chunk, static_cast<size_t>(n));
    }
    return read_;
  }
  std::string take(size_t bytes) {
    std::string out = read_.substr(0, bytes);
    read_.erase(0, bytes);
    return out;
  }
  bool ended() const { return ended_; }

 private:
  int fd_;
  std::string read_;
  bool ended_ = false;
};

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in small letters
  std::string body;                            // without chunk framing
  bool complete = false;
  Json json() const { return parse_json(body, "answer"); }
};

inline std::string request_text(const std::string& method, const std::string& target,
                                const std::string& body = "", const std::string& headers = "") {
  return method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers +
         (method == "POST"
              ? "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n"
              : "") +
         "\r\n" + body;
}

// Reads one answer, of which the connection may end the body.
inline HttpAnswer read_answer(Connection& connection) {
  HttpAnswer answer;
  const std::string& read = connection.read_until(
      [](const std::string& text) { return text.find("\r\n\r\n") != std::string::npos; });
  const size_t head = read.find("\r\n\r\n");
  if (head == std::string::npos) return answer;
  const std::string lines = connection.take(head + 4);
  answer.status = std::atoi(lines.substr(lines.find(' ') + 1).c_str());
  for (size_t at = lines.find("\r\n") + 2; at + 2 < lines.size();) {
    const size_t end = lines.find("\r\n", at), colon = lines.find(": ", at);
    std::string name = lines.substr(at, colon - at);
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    answer.headers[name] = lines.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (answer.headers.contains("content-length")) {
    const size_t size = std::stoul(answer.headers["content-length"]);
    connection.read_until([&](const std::string& text) { return text.size() >= size; });
    answer.body = connection.take(size);
    answer.complete = answer.body.size() == size;
  } else if (answer.headers["transfer-encoding"] == "chunked") {
    for (;;) {
      const std::string& text =
          connection.read_until([](const std::string& t) { return t.find("\r\n") != std::string::npos; });
      const size_t line = text.find("\r\n");
      if (line == std::string::npos) break;
      const size_t size = std::stoul(text.substr(0, line), nullptr, 16);
      connection.read_until([&](const std::string& t) { return t.size() >= line + 2 + size + 2; });
      answer.body += connection.take(line + 2 + size + 2).substr(line + 2, size);
      if (size == 0) {
        answer.complete = true;
        break;
      }
      if (connection.ended()) break;
    }
  } else {
    const size_t all = connection.read_until([](const std::string&) { return false; }).size();
    answer.body = connection.take(all);
    answer.complete = true;
  }
  return answer;
}

// The events of a stream, without [DONE]; `done` says whether that came.
struct Stream {
  std::vector<Json> chunks;
  bool done = false;
};
inline Stream events_of(const std::string& body) {
  Stream stream;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    EXPECT_NE(end, std::string::npos);
    if (end == std::string::npos) break;
    const std::string line = body.substr(at, end - at);
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    EXPECT_FALSE(stream.done) << "an event after [DONE]";
    if (line == "data: [DONE]") {
      stream.done = true;
    } else {
      stream.chunks.push_back(parse_json(line.substr(6), "chunk"));
    }
    at = end + 2;
  }
  return stream;
}

class TestServer {
 public:
  explicit TestServer(ServerOptions options = {}, const ModelBundle& bundle = nano(), int threads = 2)
      : pool_(threads), work_(pool_, Numerics::cpu_f32) {
    // OpenSSL cleans up at the program's end in reverse order of its first use. Servers that are static objects
    // must end before, because the clean-up forgets what belongs to threads that are still there.
    sha256_hex("");
    options.port = 0;
    if (options.name.empty()) options.name = "r1-nano";
    server_ = std::make_unique<Server>(bundle, work_.ctx, options, [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      log_.push_back(line);
    });
    thread_ = std::thread([this] { server_->run(); });
  }
  ~TestServer() {
    server_->stop();
    thread_.join();
  }
  Server& server() { return *server_; }
  int port() const { return server_->port(); }
  void join() {  // after drain()
    thread_.join();
    thread_ = std::thread([] {});
  }

  HttpAnswer ask(const std::string& method, const std::string& target, const std::string& body = "",
                 const std::string& headers = "") const {
    Connection connection(port());
    EXPECT_TRUE(connection.send(request_text(method, target, body, headers)));
    return read_answer(connection);
  }
  HttpAnswer post(const std::string& target, const Json& body, const std::string& headers = "") const {
    return ask("POST", target, body.dump(), headers);
  }
  // An answer that must come with status 200.
  Json chat(const Json& body) const {
    const HttpAnswer answer = post("/v1/chat/completions", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  }
  Stream chat_stream(Json body) const {
    const HttpAnswer answer = post("/v1/chat/completions", body.set("stream", true));
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_TRUE(answer.complete);
    return events_of(answer.body);
  }

  // Waits until nothing is in progress or queued.
  EngineLoop::State idle_state() const {
    for (int i = 0; i < kPatienceMs / 5; ++i) {
      const EngineLoop::State state = server_->state();
      if (state.queued == 0 && state.running == 0) return state;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << "the server is still busy";
    return server_->state();
  }
  std::vector<std::string> log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  // The log, once it has `lines`: the server writes a request's line after the client has its answer.
  std::vector<std::string> log_of(size_t lines) const {
    for (int i = 0; i < kPatienceMs / 5; ++i) {
      std::vector<std::string> written = log();
      if (written.size() >= lines) return written;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return log();
  }

 private:
  ThreadPool pool_;
  Workspace work_;
  mutable std::mutex mutex_;
  std::vector<std::string> log_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

inline Json user_message(const std::string& text) {
  return Json::object().set("role", "user").set("content", text);
}

// A conversation of one question, with a seed.
inline Json question(const std::string& text = "Make 24 from 12, 11 and 47.", int64_t seed = 7) {
  Json body = Json::object();
  body.set("model", "r1-nano").set("messages", Json::array().push_back(user_message(text)));
  return body.set("seed", seed);
}

inline std::string content_of(const Json& answer, size_t choice = 0) {
  return answer.at("choices").at(choice).at("message").get_string("content");
}
inline std::string reasoning_of(const Json& answer, size_t choice = 0) {
  const Json& message = answer.at("choices").at(choice).at("message");
  return message.get_string_or("reasoning_content", "");
}
// Joins what a stream says of a choice: "content", "reasoning_content" or, of completions, "text".
inline std::string joined(const Stream& stream, const std::string& field, int64_t choice = 0) {
  std::string text;
  for (const Json& chunk : stream.chunks) {
    for (const Json& c : chunk.at("choices").items()) {
      if (c.get_int("index") != choice) continue;
      text += (field == "text" ? c : c.at("delta")).get_string_or(field, "");
    }
  }
  return text;
}

}  // namespace r1::test
