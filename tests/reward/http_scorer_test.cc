// The user's endpoint gets rows and returns scores; every kind of failure is tested.
#include "reward/http_scorer.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "formats/json.h"

namespace r1 {
namespace {

// A server that answers the one request of each connection with the result of `respond`: a whole HTTP
// response, or "" to close the connection.
class Server {
 public:
  using Respond = std::function<std::string(const Json& body)>;
  explicit Server(Respond respond)
      : respond_(std::move(respond)), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
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
  ~Server() {
    ::shutdown(socket_, SHUT_RDWR);
    accepting_.join();
    for (std::thread& thread : serving_) thread.join();
    ::close(socket_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/score"; }
  std::atomic<int> requests{0};

 private:
  void accept_all() {
    for (int fd = 0; (fd = ::accept(socket_, nullptr, nullptr)) >= 0;)
      serving_.emplace_back([this, fd] { serve(fd); });
  }
  void serve(int fd) {
    std::string text;
    size_t body = std::string::npos, length = 0;
    while (body == std::string::npos || text.size() < body + length) {
      char chunk[4096];
      const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
      if (n <= 0) break;
      text.append(chunk, static_cast<size_t>(n));
      if (body == std::string::npos && text.find("\r\n\r\n") != std::string::npos) {
        body = text.find("\r\n\r\n") + 4;
        const size_t at = text.find("Content-Length: ");
        length = at < body ? std::stoul(text.substr(at + 16)) : 0;
      }
    }
    if (body != std::string::npos) {
      ++requests;
      EXPECT_TRUE(text.starts_with("POST /score HTTP/1.1\r\n")) << text.substr(0, 100);
      const std::string out = respond_(parse_json(text.substr(body), "request"));
      ::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
    }
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
  }
  Respond respond_;
  int socket_;
  int port_ = 0;
  std::thread accepting_;
  std::vector<std::thread> serving_;
};

std::string ok(const Json& body) {
  const std::string text = body.dump();
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
}

Json scores(const Json& body, bool reversed = false) {
  std::vector<Json> out;
  for (const Json& row : body.at("rows").items()) {
    out.push_back(
        Json::object().set("id", row.get_string("id")).set("score", std::ssize(row.get_string("response"))));
  }
  if (reversed) std::ranges::reverse(out);
  return Json::object().set("scores", Json::array_of(out));
}

bool is_bad(const Json& body) {
  return std::ranges::any_of(body.at("rows").items(), [](const Json& row) {
    return row.get_string("response").find("BAD") != std::string::npos;
  });
}

HttpConfig endpoint(const std::string& url, int64_t batch = 4) {
  HttpConfig config;
  config.name = "judge";
  config.url = url;
  config.batch = batch;
  config.timeout_s = 60;
  return config;
}

std::vector<ScoreAnswer> ask(const HttpConfig& config, bool bad = false) {
  std::vector<RowToScore> rows;
  for (int i = 0; i < 12; ++i) {
    Json row = Json::object();
    const std::string id = "s" + std::to_string(i);
    row.set("id", id).set("response",
                          std::string(static_cast<size_t>(i), 'x') + (bad && i == 3 ? "BAD" : ""));
    rows.push_back({id, row.dump()});
  }
  HttpScorer scorer(config);
  return scorer.ask(rows, {});
}

void expect_good(const std::vector<ScoreAnswer>& answers, int but = -1) {
  for (int i = 0; i < 12; ++i) {
    if (i == but) continue;
    EXPECT_EQ(answers[static_cast<size_t>(i)].status, SampleStatus::scored)
        << answers[static_cast<size_t>(i)].why;
    EXPECT_EQ(answers[static_cast<size_t>(i)].score, i);
  }
}

TEST(HttpScorer, ScoresComeBackById) {
  Server server([](const Json& body) { return ok(scores(body, true)); });
  for (const int64_t batch : {1, 5, 100}) expect_good(ask(endpoint(server.url(), batch)));
}

TEST(HttpScorer, ABadRowIsNamedAndTheOthersAreScored) {
  const std::pair<Server::Respond, const char*> faults[] = {
      {[](const Json&) { return "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"; },
       "it answered with status 500"},
      {[](const Json&) { return ""; }, "it closed the connection before it answered"},
      {[](const Json&) { return ok(Json("no")); }, "its body"},
      {[](const Json&) { return "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno!"; }, "its body"},
      {[](const Json&) { return ok(Json::object().set("scores", Json::array())); },
       "its body has no answer for s3"}};
  for (const auto& [fault, reason] : faults) {
    Server server([&](const Json& body) { return is_bad(body) ? fault(body) : ok(scores(body)); });
    const auto answers = ask(endpoint(server.url()), true);
    expect_good(answers, 3);
    EXPECT_EQ(answers[3].status, SampleStatus::verifier_failed);
    EXPECT_NE(answers[3].why.find(reason), std::string::npos) << answers[3].why;
    EXPECT_TRUE(answers[3].why.starts_with("judge: "));
  }
}

TEST(HttpScorer, ASilentEndpointTimesOutAndIsGivenUpSoon) {
  std::atomic<bool> end{false};
  Server server([&](const Json&) {
    while (!end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return "";
  });
  HttpConfig config = endpoint(server.url(), 1);
  config.timeout_s = 0.3;
  config.parallel = 1;
  const auto answers = ask(config);
  end = true;
  EXPECT_NE(answers[0].why.find("it gave no answer within 0.3 s"), std::string::npos) << answers[0].why;
  EXPECT_NE(answers[11].why.find("its first 8 requests have failed"), std::string::npos) << answers[11].why;
}

TEST(HttpScorer, NobodyThereIsAFailure) {
  std::string url;
  {
    Server gone([](const Json&) { return ""; });
    url = gone.url();
  }
  for (const ScoreAnswer& a : ask(endpoint(url))) EXPECT_EQ(a.status, SampleStatus::verifier_failed);
}

}  // namespace
}  // namespace r1
