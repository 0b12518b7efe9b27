// The user's endpoint gets rows and returns scores; every kind of failure is tested.
#include "reward/http_scorer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "formats/json.h"
#include "tests/base/http_test_server.h"

namespace r1::http_scorer_test {
namespace {

// A server that answers the one request of each connection with the result of `respond`: a whole HTTP
// response, or "" to close the connection.
class Server {
 public:
  using Respond = std::function<std::string(const Json& body)>;
  explicit Server(Respond respond)
      : respond_(std::move(respond)), server_([this](const test::SeenRequest& request) {
          ++requests;
          EXPECT_EQ(request.method + " " + request.target, "POST /score");
          return test::RawReply{.bytes = respond_(parse_json(request.body, "request")), .close = true};
        }) {}
  std::string url() const { return server_.url("/score"); }
  std::atomic<int> requests{0};

 private:
  Respond respond_;
  test::HttpTestServer server_;
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
}  // namespace r1::http_scorer_test
