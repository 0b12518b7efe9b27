// Many requests at a time: the same bytes as alone, fairness, full queues, deadlines, clients that leave, and
// the end.
#include <atomic>
#include <set>

#include "tests/server/server_test_util.h"

namespace r1::load_test {
namespace {

using namespace test;

// Returns the part of an answer that a client sees, without its name and time.
std::string shown_bytes(const Json& answer) {
  return answer.at("choices").dump();
}

Json varied_request(int i) {
  Json body =
      question("Make " + std::to_string(20 + i % 7) + " from 3, 5 and " + std::to_string(2 + i % 5) + ".", i);
  if (i % 2 == 0) body.set("logprobs", true).set("top_logprobs", 2);
  if (i % 3 == 0) body.set("n", 2);
  if (i % 4 == 0) body.set("presence_penalty", 0.5);
  if (i % 5 == 0) body.set("max_thinking_tokens", 3);
  if (i % 7 == 0) body.set("temperature", 0.7).set("top_p", 0.9);
  if (i % 11 == 0) body.set("stop", "=");
  return body.set("return_token_ids", true);
}

TEST(Crowd, EveryAnswerIsThatOfTheRequestAlone) {
  constexpr int kRequests = 48;
  std::vector<std::string> alone;
  {
    ServerOptions options;
    options.max_batch = 1;
    TestServer one(options, nano(), 1);
    for (int i = 0; i < kRequests; ++i) alone.push_back(shown_bytes(one.chat(varied_request(i))));
  }
  ServerOptions options;
  options.max_batch = 16;
  options.prefill_chunk = 40;
  options.kv_bytes =
      60 * KvCache::bytes_per_page(nano().model.config(), DType::f32);  // so that some are preempted
  TestServer many(options);
  for (int round = 0; round < 2; ++round) {  // the second time from cached pages
    std::vector<std::thread> clients;
    for (int i = 0; i < kRequests; ++i) {
      clients.emplace_back([&, i] {
        if (i % 6 == 5) {
          const Stream stream = many.chat_stream(varied_request(i));
          const Json want = parse_json(alone[static_cast<size_t>(i)], "alone");
          EXPECT_EQ(joined(stream, "content"), want.at(size_t{0}).at("message").get_string("content"));
        } else {
          EXPECT_EQ(shown_bytes(many.chat(varied_request(i))), alone[static_cast<size_t>(i)]) << i;
        }
      });
    }
    for (std::thread& t : clients) t.join();
  }
}

// Reads a stream until it has so many events.
void read_events(Connection& connection, size_t count) {
  connection.read_until([count](const std::string& text) {
    size_t found = 0;
    for (size_t at = 0; (at = text.find("data: {", at)) != std::string::npos; ++at) ++found;
    return found >= count;
  });
}

Json endless(int seed) {
  return question("Go on.", seed).set("ignore_eos", true).set("max_tokens", 900).set("detect_loops", false);
}

TEST(Cancel, AClientThatLeavesFreesItsPagesWithinAStep) {
  for (const bool stream : {true, false}) {
    for (const bool reset : {true, false}) {
      TestServer server;
      auto connection = std::make_unique<Connection>(server.port());
      connection->send(request_text("POST", "/v1/chat/completions", endless(1).set("stream", stream).dump()));
      if (stream) read_events(*connection, 5);
      while (server.server().state().running == 0) std::this_thread::yield();
      if (reset) {
        connection->reset();
      } else {
        connection->close();
      }
      const EngineLoop::State state = server.idle_state();
      EXPECT_LT(state.steps, 800) << "the answer went on";
      EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
      const std::vector<std::string> log = server.log();
      ASSERT_FALSE(log.empty());
      EXPECT_NE(log.back().find(" 499 "), std::string::npos) << log.back();
      EXPECT_NE(server.ask("GET", "/metrics").body.find("r1_requests_cancelled_total 1\n"),
                std::string::npos);
    }
  }
}

TEST(Cancel, AThousandClientsThatVanishChangeNoByteOfTheOthers) {
  TestServer reference;
  std::vector<std::string> want;
  for (int i = 0; i < 4; ++i) want.push_back(shown_bytes(reference.chat(varied_request(i))));
  ServerOptions options;
  options.max_batch = 24;
  options.max_queue = 1000;
  TestServer server(options);
  std::atomic<bool> over = false;
  std::vector<std::thread> others;
  for (int i = 0; i < 4; ++i) {
    others.emplace_back([&, i] {
      int64_t answers = 0;
      while (!over || answers == 0) {
        EXPECT_EQ(shown_bytes(server.chat(varied_request(i))), want[static_cast<size_t>(i)]);
        ++answers;
      }
    });
  }
  std::vector<std::unique_ptr<Connection>> vanishing;
  for (int i = 0; i < 1000; ++i) {
    vanishing.push_back(std::make_unique<Connection>(server.port()));
    vanishing.back()->send(
        request_text("POST", "/v1/chat/completions", endless(i).set("stream", i % 4 != 3).dump()));
    // Clients vanish at every stage: before the answer, at its head, in its middle.
    if (i % 4 == 0 && i < 16) read_events(*vanishing.back(), 3);
    if (i % 8 == 7) {
      for (auto& connection : vanishing) connection->reset();
      vanishing.clear();
    }
  }
  vanishing.clear();
  over = true;
  for (std::thread& t : others) t.join();
  const EngineLoop::State state = server.idle_state();
  EXPECT_EQ(state.samples, 0);
  EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
}

TEST(Queue, AFullOneAnswersWith429AndSaysWhenToComeAgain) {
  ServerOptions options;
  options.max_batch = 1;
  options.max_queue = 2;
  TestServer server(options);
  std::vector<std::unique_ptr<Connection>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(std::make_unique<Connection>(server.port()));
    held.back()->send(request_text("POST", "/v1/chat/completions", endless(i).set("stream", true).dump()));
    if (i == 0) read_events(*held.back(), 2);
  }
  while (server.server().state().queued < 2) std::this_thread::yield();
  const HttpAnswer answer = server.post("/v1/chat/completions", question());
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.json().at("error").get_string("code"), "queue_full");
  const int wait = std::atoi(answer.headers.at("retry-after").c_str());
  EXPECT_GE(wait, 1);
  EXPECT_LE(wait, 60);
  held.clear();
  server.idle_state();
  EXPECT_EQ(server.post("/v1/chat/completions", question().set("max_tokens", 1)).status, 200);
}

TEST(Queue, OwnersTakeTurns) {
  ServerOptions options;
  options.max_batch = 1;
  TestServer server(options);
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<std::thread> clients;
  Connection first(server.port());
  first.send(request_text("POST", "/v1/chat/completions", endless(0).set("stream", true).dump()));
  read_events(first, 2);
  const auto ask = [&](const std::string& who) {
    clients.emplace_back([&, who] {
      server.post("/v1/chat/completions", question().set("max_tokens", 3),
                  "Authorization: Bearer " + who + "\r\n");
      const std::lock_guard lock(mutex);
      order.push_back(who);
    });
    const int64_t want = std::ssize(clients);
    while (server.server().state().queued < want) std::this_thread::yield();
  };
  for (int i = 0; i < 6; ++i) ask("anna");
  ask("ben");
  first.reset();
  for (std::thread& t : clients) t.join();
  // Ben has one request and waits for at most two of Anna's six (answers may overtake each other on their
  // way).
  const auto ben = std::ranges::find(order, "ben") - order.begin();
  EXPECT_LE(ben, 3);
}

TEST(Deadline, EndsAnAnswerThatTakesTooLongAndSaysSo) {
  ServerOptions options;
  options.max_batch = 1;
  options.timeout_s = 2;
  TestServer server(options);
  Json body = endless(1).set("n", 128);
  const HttpAnswer answer = server.post("/v1/chat/completions", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json last = answer.json().at("choices").items().back();
  EXPECT_EQ(last.get_string("finish_reason"), "length");
  EXPECT_EQ(last.get_string("finish_detail"), "timeout");
  const EngineLoop::State state = server.idle_state();
  EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
}

TEST(Drain, AnswersInProgressEndAndThenTheServer) {
  TestServer server;
  const Json want = server.chat(question());
  std::vector<std::unique_ptr<Connection>> streams;
  for (int i = 0; i < 12; ++i) {
    streams.push_back(std::make_unique<Connection>(server.port()));
    streams.back()->send(request_text("POST", "/v1/chat/completions", question().set("stream", true).dump()));
    read_events(*streams.back(), 2);
  }
  server.server().drain();
  for (auto& stream : streams) {
    const HttpAnswer answer = read_answer(*stream);
    EXPECT_TRUE(answer.complete);
    EXPECT_EQ(joined(events_of(answer.body), "content"), content_of(want));
  }
  server.join();
}

}  // namespace
}  // namespace r1::load_test
