// Random requests: valid, nearly valid and wild ones. Each is answered with a status and JSON, or with a stream of JSON; none is an
// internal error, none leaks a page of the KV cache, and the answers of others keep their bytes.
#include <array>
#include <atomic>
#include <cstdlib>

#include "base/random.h"
#include "tests/server/server_test_util.h"

namespace r1::random_requests_test {
namespace {

using namespace test;

constexpr const char* kRoutes[] = {
    "/v1/chat/completions", "/v1/chat/completions", "/v1/chat/completions",      "/v1/completions",
    "/v1/completions",      "/v1/messages",         "/v1/messages/count_tokens", "/tokenize",
    "/detokenize",          "/apply-template"};

// Draws requests. All draws come from one stream, so that a request that fails can be made again from its number.
class Requests {
 public:
  explicit Requests(uint64_t seed) : random_(seed, 77) {}

  // The whole text of a request.
  std::string next() {
    const int64_t kind = random_.below(20);
    if (kind == 0) return noise();
    if (kind == 1) return get();
    const std::string target = kind == 2 ? one_of(kStrange) : one_of(kRoutes);
    std::string body = random_.below(12) == 0 ? one_of(kTexts) : object(target).dump();
    if (random_.below(5) == 0) body = damaged(std::move(body));
    return framed(target, body);
  }

 private:
  static constexpr const char* kStrange[] = {"/",
                                             "/v1",
                                             "/v1/chat",
                                             "//v1/chat/completions",
                                             "/v1/models",
                                             "/health",
                                             "/v1/chat/completions/",
                                             "/metrics",
                                             "/%00",
                                             "*"};
  static constexpr const char* kGets[] = {"/health",
                                          "/metrics",
                                          "/v1/models",
                                          "/v1/models/r1-nano",
                                          "/v1/models/%zz",
                                          "/",
                                          "/page/chat.js",
                                          "/page/../server.h",
                                          "/runs",
                                          "/runs/metrics?run=..%2f",
                                          "/v1/chat/completions",
                                          "/nothing?a=b&c",
                                          "/%ff%fe",
                                          "/v1/models/"};
  static constexpr const char* kMethods[] = {"GET",     "HEAD",  "POST", "PUT", "DELETE",
                                             "OPTIONS", "PATCH", "get",  "BREW"};
  static constexpr const char* kTexts[] = {"",
                                           "null",
                                           "[]",
                                           "0",
                                           "\"x\"",
                                           "{}",
                                           "{\"messages\":[]}",
                                           "[[[[[[[[",
                                           "\xef\xbb\xbf{}",
                                           "{\"a\":1e999}",
                                           "{\"a\":\"\\ud800\"}",
                                           "{\"a\":1,\"a\":2}"};
  static constexpr const char* kNames[] = {"model",
                                           "messages",
                                           "stream",
                                           "stream_options",
                                           "n",
                                           "seed",
                                           "temperature",
                                           "top_p",
                                           "presence_penalty",
                                           "frequency_penalty",
                                           "logit_bias",
                                           "logprobs",
                                           "top_logprobs",
                                           "stop",
                                           "max_tokens",
                                           "max_completion_tokens",
                                           "reasoning_effort",
                                           "top_k",
                                           "min_p",
                                           "repetition_penalty",
                                           "min_tokens",
                                           "no_repeat_ngram_size",
                                           "bad_words_ids",
                                           "stop_token_ids",
                                           "ignore_eos",
                                           "return_token_ids",
                                           "chat_template_kwargs",
                                           "add_generation_prompt",
                                           "continue_final_message",
                                           "max_thinking_tokens",
                                           "detect_loops",
                                           "response_format",
                                           "json_schema",
                                           "grammar",
                                           "guided_json",
                                           "guided_grammar",
                                           "guided_choice",
                                           "guided_regex",
                                           "structured_outputs",
                                           "tools",
                                           "tool_choice",
                                           "parallel_tool_calls",
                                           "prompt",
                                           "echo",
                                           "tokens",
                                           "content",
                                           "add_special_tokens",
                                           "system",
                                           "thinking",
                                           "stop_sequences",
                                           "output_config",
                                           "user",
                                           "metadata",
                                           "best_of",
                                           "suffix",
                                           "functions",
                                           "best",
                                           "\xc3\xa9"};

  template <size_t kCount>
  std::string one_of(const char* const (&list)[kCount]) {
    return list[random_.below(static_cast<int64_t>(kCount))];
  }

  Json small_text() {
    static constexpr const char* kWords[] = {"",
                                             "24",
                                             "Make 24 from 12, 11 and 47.",
                                             "<think>",
                                             "</think>",
                                             "=",
                                             "}",
                                             "\n\n",
                                             "\xe4\xb8\x96\xe7\x95\x8c",
                                             "low",
                                             "none",
                                             "r1-nano",
                                             "user",
                                             "assistant",
                                             "json_object",
                                             "[0-9]{1,3}",
                                             "root ::= \"a\"",
                                             "(a",
                                             "\xf0\x9f\x99\x82",
                                             "a\\b\"c"};
    return Json(one_of(kWords));
  }

  // Any JSON value, mostly a small one.
  Json value(int depth = 0) {
    switch (random_.below(depth < 3 ? 10 : 7)) {
      case 0:
        return Json();
      case 1:
        return Json(random_.below(2) == 0);
      case 2:
        return Json(random_.between(-2, 9));
      case 3:
        return Json(random_.uniform_double() * 3 - 0.5);
      case 4: {
        static constexpr std::array<double, 6> kWild = {-1, 1e18, -1e300, 2147483648.0, 0.5, 4294967296.0};
        return Json(kWild[static_cast<size_t>(random_.below(6))]);
      }
      case 5:
      case 6:
        return small_text();
      case 7: {
        Json list = Json::array();
        for (int64_t i = random_.below(4); i > 0; --i) list.push_back(value(depth + 1));
        return list;
      }
      default: {
        Json object = Json::object();
        for (int64_t i = random_.below(4); i > 0; --i) object.set(one_of(kNames), value(depth + 1));
        return object;
      }
    }
  }

  Json messages() {
    Json list = Json::array();
    static constexpr const char* kRoles[] = {"user",   "user", "user",      "assistant",
                                             "system", "tool", "developer", "elf"};
    for (int64_t i = random_.between(1, 3); i > 0; --i) {
      Json one = Json::object().set("role", one_of(kRoles));
      one.set("content", random_.below(8) == 0 ? value(1) : small_text());
      if (random_.below(10) == 0) one.set("tool_call_id", small_text());
      list.push_back(std::move(one));
    }
    return list;
  }

  // A value that a field may have.
  Json fitting(const std::string& name) {
    if (name == "messages") return messages();
    if (name == "stream" || name == "echo" || name == "ignore_eos" || name == "logprobs" ||
        name == "return_token_ids" || name == "detect_loops" || name == "continue_final_message" ||
        name == "parallel_tool_calls")
      return Json(random_.below(2) == 0);
    if (name == "model") return Json("r1-nano");
    if (name == "user" || name == "system" || name == "content") return small_text();
    if (name == "metadata" || name == "chat_template_kwargs") return Json::object().set("a", small_text());
    if (name == "presence_penalty" || name == "frequency_penalty")
      return Json(random_.uniform_double() * 4 - 2);
    if (name == "repetition_penalty") return Json(1 + random_.uniform_double());
    if (name == "top_k" || name == "no_repeat_ngram_size" || name == "seed")
      return Json(random_.between(0, 50));
    if (name == "stop_token_ids") return Json::array().push_back(random_.below(700));
    if (name == "guided_json" || name == "json_schema")
      return Json::object().set("type", one_of({"integer", "boolean", "object", "thing"}));
    if (name == "add_generation_prompt" || name == "add_special_tokens") return Json(true);
    if (name == "n" || name == "top_logprobs") return Json(random_.between(1, 3));
    if (name == "temperature" || name == "top_p" || name == "min_p") return Json(random_.uniform_double());
    if (name == "max_thinking_tokens" || name == "min_tokens") return Json(random_.below(6));
    if (name == "stop" || name == "stop_sequences") return Json::array().push_back(one_of({"=", "24", "zz"}));
    if (name == "guided_choice") return Json::array().push_back("yes").push_back("no");
    if (name == "guided_regex") return Json(one_of({"[0-9]{1,3}", "(yes|no)", "a(?=b)"}));
    if (name == "grammar") return Json("root ::= \"a\" | \"b\"");
    if (name == "response_format") return Json::object().set("type", one_of({"text", "json_object"}));
    if (name == "logit_bias")
      return Json::object().set(std::to_string(random_.below(700)), random_.between(-100, 100));
    if (name == "prompt")
      return random_.below(2) == 0 ? small_text() : Json::array().push_back(3).push_back(random_.below(700));
    if (name == "tokens") return Json::array().push_back(5).push_back(random_.below(700));
    if (name == "reasoning_effort") return Json(one_of({"none", "low", "high"}));
    if (name == "stream_options") return Json::object().set("include_usage", true);
    if (name == "tools") {
      Json function = Json::object().set("name", "f").set("parameters", Json::object().set("type", "object"));
      return Json::array().push_back(
          Json::object().set("type", "function").set("function", std::move(function)));
    }
    return value();
  }

  Json object(const std::string& target) {
    Json body = Json::object();
    const bool is_raw = target == "/v1/completions" || target == "/tokenize";
    const char* subject = is_raw ? "prompt" : target == "/detokenize" ? "tokens" : "messages";
    if (random_.below(15) != 0) body.set(subject, random_.below(12) == 0 ? value() : fitting(subject));
    // Few tokens, so that many requests fit into a test.
    if (random_.below(30) != 0) body.set("max_tokens", random_.between(1, 4));
    if (random_.below(2) == 0) body.set("seed", random_.below(1000));
    for (int64_t i = random_.below(4); i > 0; --i) {
      const std::string name = one_of(kNames);
      if (name == "max_tokens" || name == "max_completion_tokens" || body.contains(name)) continue;
      body.set(name, random_.below(8) == 0 ? value() : fitting(name));
    }
    return body;
  }

  // A few bytes of a text changed, taken out, or doubled.
  std::string damaged(std::string text) {
    for (int64_t i = random_.between(1, 3); i > 0 && !text.empty(); --i) {
      const auto at = static_cast<size_t>(random_.below(std::ssize(text)));
      switch (random_.below(5)) {
        case 0:
          text[at] = static_cast<char>(random_.below(256));
          break;
        case 1:
          text.erase(at, static_cast<size_t>(random_.between(1, 9)));
          break;
        case 2:
          text.insert(at, text.substr(at / 2, static_cast<size_t>(random_.below(20))));
          break;
        case 3:
          text.resize(at);
          break;
        default:
          text.insert(at, 1, "{}[]\",:\\0"[random_.below(9)]);
      }
    }
    return text;
  }

  std::string header() {
    static constexpr const char* kHeaders[] = {"",
                                               "",
                                               "",
                                               "",
                                               "",
                                               "",
                                               "Authorization: Bearer x\r\n",
                                               "Authorization: Basic eDp5\r\n",
                                               "X-Api-Key: k\r\n",
                                               "Origin: http://evil.example\r\n",
                                               "Accept: text/html\r\n",
                                               "Connection: close\r\n",
                                               "Content-Encoding: gzip\r\n",
                                               "Cookie: a=b\r\n",
                                               "X-Empty:\r\n",
                                               "Upgrade: h2c\r\n",
                                               "Range: bytes=0-1\r\n"};
    return one_of(kHeaders);
  }

  std::string framed(const std::string& target, const std::string& body) {
    std::string text = request_text("POST", target, body, header());
    if (random_.below(8) != 0) return text;
    if (random_.below(2) == 0) {  // in chunks
      text = "POST " + target + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
      char size[16];
      for (size_t at = 0; at < body.size();) {
        const auto part = std::min(body.size() - at, static_cast<size_t>(random_.between(1, 64)));
        std::snprintf(size, sizeof size, "%zx\r\n", part);
        text += size + body.substr(at, part) + "\r\n";
        at += part;
      }
      return text + "0\r\n\r\n";
    }
    // The head alone is damaged, so that the length of the body stays.
    const size_t head = text.find("\r\n\r\n");
    return damaged(text.substr(0, head)) + text.substr(head);
  }

  std::string get() {
    return one_of(kMethods) + " " + one_of(kGets) + " HTTP/1.1\r\nHost: localhost\r\n" + header() +
           (random_.below(4) == 0 ? "Content-Length: 3\r\n\r\nabc" : "\r\n");
  }

  std::string noise() {
    std::string text;
    for (int64_t i = random_.below(200); i > 0; --i) text += static_cast<char>(random_.below(256));
    return text + "\r\n\r\n";
  }

  Random random_;
};

struct Count {
  int64_t ok = 0, refused = 0, closed = 0;
};

// Sends one request, ends the sending, and judges the answer.
void try_one(int port, const std::string& request, Count& count) {
  Connection connection(port);
  connection.send(request);
  connection.end_sending();
  HttpAnswer answer = read_answer(connection);
  if (answer.status == 0) {  // half a request, whose end the client has cut off
    ++count.closed;
    return;
  }
  ASSERT_TRUE(answer.status == 200 || (answer.status >= 400 && answer.status < 500)) << answer.status << "\n"
                                                                                     << request;
  (answer.status == 200 ? count.ok : count.refused) += 1;
  if (request.starts_with("HEAD ")) return;
  const std::string& type = answer.headers["content-type"];
  const bool is_json = type.starts_with("application/json"),
             is_stream = type.starts_with("text/event-stream");
  ASSERT_TRUE(is_json || is_stream || (answer.status == 200 && !request.starts_with("POST"))) << type << "\n"
                                                                                              << request;
  try {
    if (is_json) {
      const Json json = answer.json();
      if (answer.status != 200) {
        EXPECT_FALSE(json.at("error").get_string("message").empty()) << request;
      }
    }
    for (size_t at = 0; is_stream && (at = answer.body.find("data: {", at)) != std::string::npos; ++at)
      parse_json(answer.body.substr(at + 6, answer.body.find('\n', at) - at - 6), "event");
  } catch (const Error& error) {
    ADD_FAILURE() << error.what() << "\n" << request << "\n" << answer.body;
  }
}

// 2,000 requests, or 100,000 with R1_LONG=1.
TEST(RandomRequests, EachIsAnsweredWithAStatusAndJsonAndDisturbsNobody) {
  const char* is_long = std::getenv("R1_LONG");
  const int64_t requests = is_long != nullptr && std::string_view(is_long) == "1" ? 100'000 : 2'000;
  constexpr int kClients = 4;
  ServerOptions options;
  options.max_queue = 1000;
  TestServer server(options);
  const Json fixed = question().set("max_tokens", 40).set("logprobs", true);
  const std::string want = server.chat(fixed).at("choices").dump();
  std::atomic<int64_t> next = 0;
  std::array<Count, kClients> counts;
  std::vector<std::thread> clients;
  for (size_t c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      for (int64_t i; (i = next++) < requests && !testing::Test::HasFatalFailure();)
        try_one(server.port(), Requests(static_cast<uint64_t>(i)).next(), counts[c]);
    });
  }
  int64_t others = 0;
  while (next < requests || others == 0) {
    EXPECT_EQ(server.chat(fixed).at("choices").dump(), want);
    ++others;
  }
  for (std::thread& client : clients) client.join();
  Count all;
  for (const Count& count : counts) {
    all.ok += count.ok;
    all.refused += count.refused;
    all.closed += count.closed;
  }
  std::printf(
      "  %lld requests: %lld answered, %lld refused, %lld cut off by the client; %lld answers of others\n",
      static_cast<long long>(requests), static_cast<long long>(all.ok), static_cast<long long>(all.refused),
      static_cast<long long>(all.closed), static_cast<long long>(others));
  // The generator makes enough of each kind.
  EXPECT_GT(all.ok * 5, requests);
  EXPECT_GT(all.refused * 5, requests);
  EXPECT_LT(all.closed * 5, requests);
  const EngineLoop::State state = server.idle_state();
  EXPECT_EQ(state.samples, 0);
  EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
  EXPECT_EQ(server.chat(fixed).at("choices").dump(), want);
}

}  // namespace
}  // namespace r1::random_requests_test
