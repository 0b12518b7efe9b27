// The other routes, and every kind of error in OpenAI's shape.
#include <fstream>

#include "tests/server/server_test_util.h"

namespace r1::api_test {
namespace {

using namespace test;

TestServer& server() {
  static TestServer one;
  return one;
}

TEST(Completions, ContinueARawPrompt) {
  Json body = Json::object();
  body.set("model", "r1-nano").set("prompt", "12 + 11 =").set("seed", 3).set("max_tokens", 12);
  const Json got = server().post("/v1/completions", body).json();
  EXPECT_EQ(got.get_string("object"), "text_completion");
  const Json& choice = got.at("choices").at(size_t{0});
  EXPECT_FALSE(choice.get_string("text").empty());
  EXPECT_LE(got.at("usage").get_int("completion_tokens"), 12);
  const Json echoed = server().post("/v1/completions", Json(body).set("echo", true)).json();
  EXPECT_EQ(echoed.at("choices").at(size_t{0}).get_string("text"), "12 + 11 =" + choice.get_string("text"));
  const HttpAnswer stream =
      server().post("/v1/completions", Json(body).set("stream", true).set("echo", true));
  EXPECT_EQ(joined(events_of(stream.body), "text"), "12 + 11 =" + choice.get_string("text"));
  // Token ids are used as they are.
  const Json ids = server().post("/tokenize", Json::object().set("prompt", "12 + 11 =")).json().at("tokens");
  const Json by_ids = server().post("/v1/completions", Json(body).set("prompt", ids)).json();
  EXPECT_EQ(by_ids.at("choices").at(size_t{0}).get_string("text"), choice.get_string("text"));
}

TEST(Completions, SeveralPromptsHaveTheirOwnRandomNumbersAndChoices) {
  Json body = Json::object();
  body.set("prompt", Json::array().push_back("1 + 1 =").push_back("2 + 2 =")).set("n", 2).set("seed", 5);
  const Json got = server().post("/v1/completions", body).json();
  ASSERT_EQ(got.at("choices").size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(got.at("choices").at(i).get_int("index"), static_cast<int64_t>(i));
  Json one = Json::object();
  one.set("prompt", "1 + 1 =").set("n", 2).set("seed", 5);
  const Json alone = server().post("/v1/completions", one).json();
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(alone.at("choices").at(i).get_string("text"), got.at("choices").at(i).get_string("text"));
}

TEST(Completions, LogprobsHaveOffsetsIntoTheText) {
  Json body = Json::object();
  body.set("prompt", "12 + 11 =").set("seed", 3).set("max_tokens", 6).set("logprobs", 2);
  const Json choice = server().post("/v1/completions", body).json().at("choices").at(size_t{0});
  const Json& logprobs = choice.at("logprobs");
  const size_t count = logprobs.at("tokens").size();
  EXPECT_GE(count, 1u);
  for (const char* field : {"token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(logprobs.at(field).size(), count);
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(logprobs.at("text_offset").at(i).integer(), std::ssize(text));
    const std::string& token = logprobs.at("tokens").at(i).string();
    if (!token.starts_with("<｜")) text += token;  // special tokens have no characters
    EXPECT_LE(logprobs.at("top_logprobs").at(i).size(), 2u);
  }
  EXPECT_TRUE(text.starts_with(choice.get_string("text")));
}

TEST(Completions, AnEchoedPromptIsScoredAsGeneratingScoredIt) {
  Json body = Json::object();
  body.set("prompt", "12 + 11 =").set("seed", 3).set("max_tokens", 6).set("logprobs", 2);
  const Json made = server().post("/v1/completions", Json(body).set("return_token_ids", true)).json();
  Json ids = made.at("prompt_token_ids");
  const size_t prompt = ids.size();
  for (const Json& id : made.at("choices").at(size_t{0}).at("token_ids").items()) ids.push_back(id);
  const Json scored =
      server()
          .post("/v1/completions", Json(body).set("prompt", ids).set("echo", true).set("max_tokens", 0))
          .json();
  const Json& got = scored.at("choices").at(size_t{0}).at("logprobs");
  const Json& want = made.at("choices").at(size_t{0}).at("logprobs");
  ASSERT_EQ(got.at("tokens").size(), ids.size());
  EXPECT_TRUE(got.at("token_logprobs").at(size_t{0}).is_null());
  EXPECT_EQ(got.at("text_offset").at(size_t{1}).integer(), 0);  // the beginning of the text has no characters
  EXPECT_EQ(scored.at("usage").get_int("completion_tokens"), 0);
  for (size_t i = 0; i < want.at("tokens").size(); ++i) {
    EXPECT_EQ(got.at("token_logprobs").at(prompt + i), want.at("token_logprobs").at(i)) << i;
    EXPECT_EQ(got.at("top_logprobs").at(prompt + i), want.at("top_logprobs").at(i)) << i;
  }
  const Json both = server().post("/v1/completions", Json(body).set("echo", true)).json();
  EXPECT_EQ(both.at("choices").at(size_t{0}).at("logprobs").at("tokens").size(), ids.size());
  EXPECT_EQ(both.at("choices").at(size_t{0}).at("text").string(),
            "12 + 11 =" + made.at("choices").at(size_t{0}).get_string("text"));
}

TEST(Routes, ModelsTellTheTruthAboutTheContext) {
  const Json list = server().ask("GET", "/v1/models").json();
  const Json& model = list.at("data").at(size_t{0});
  EXPECT_EQ(model.get_string("id"), "r1-nano");
  EXPECT_EQ(model.get_int("max_model_len"), nano().model.config().max_positions);
  EXPECT_EQ(server().ask("GET", "/v1/models/r1-nano").json(), model);
  EXPECT_EQ(server().ask("GET", "/v1/models/r1%2Dnano").status, 200);
  EXPECT_EQ(server().ask("GET", "/v1/models/gpt-4o").status, 404);
  // A cache that holds less than the model's context is what counts.
  ServerOptions small;
  small.kv_bytes = 8 * KvCache::bytes_per_page(nano().model.config(), DType::f32);
  TestServer other(small);
  EXPECT_EQ(other.ask("GET", "/v1/models").json().at("data").at(size_t{0}).get_int("max_model_len"), 8 * 32);
  Json body = Json::object();
  body.set("prompt", std::string(200, '7')).set("max_tokens", 1000).set("ignore_eos", true);
  const Json got = other.post("/v1/completions", body).json();
  EXPECT_EQ(got.at("usage").get_int("total_tokens"), 8 * 32);
  EXPECT_EQ(got.at("choices").at(size_t{0}).get_string("finish_detail"), "context");
}

TEST(Routes, TextGoesToTokensAndBack) {
  const Json tokens =
      server()
          .post("/tokenize", Json::object().set("prompt", "12 + 11").set("return_token_strs", true))
          .json();
  EXPECT_EQ(tokens.get_int("count"), static_cast<int64_t>(tokens.at("tokens").size()));
  EXPECT_EQ(tokens.at("token_strs").size(), tokens.at("tokens").size());
  const Json bare =
      server()
          .post("/tokenize", Json::object().set("content", "12 + 11").set("add_special_tokens", false))
          .json();
  EXPECT_EQ(bare.get_int("count"), tokens.get_int("count") - 1);  // without the beginning of the text
  const Json back = server().post("/detokenize", Json::object().set("tokens", bare.at("tokens"))).json();
  EXPECT_EQ(back.get_string("prompt"), "12 + 11");
  Json messages = Json::array();
  messages.push_back(user_message("hi"));
  const Json text = server().post("/apply-template", Json::object().set("messages", messages)).json();
  EXPECT_EQ(text.get_string("prompt"), nano().chat_text({.messages = messages}));
}

TEST(Routes, HealthAndMetrics) {
  server().chat(question().set("max_tokens", 3));
  EXPECT_EQ(server().ask("GET", "/health").json().get_string("status"), "ok");
  const HttpAnswer metrics = server().ask("GET", "/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_TRUE(metrics.headers.at("content-type").starts_with("text/plain"));
  for (const char* name :
       {"r1_requests_total{route=\"/v1/chat/completions\",status=\"200\"}", "r1_generated_tokens_total",
        "r1_time_to_first_token_seconds_bucket{le=\"+Inf\"}", "r1_kv_pages_free", "r1_requests_queued 0",
        "r1_accepted_guesses_total{source=\"look-up\"}", "r1_guessed_tokens_total{source=\"mtp\"} 0"})
    EXPECT_NE(metrics.body.find(name), std::string::npos) << name;
}

struct BadBody {
  const char* body;
  int status;
  const char* param;    // "": null
  const char* message;  // a part of it
};

TEST(Errors, NameTheFieldAndSayWhatIsWanted) {
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}])";
  const BadBody cases[] = {
      {"", 400, "", "not JSON"},
      {"[1]", 400, "", "must be a JSON object"},
      {"{\"a\":1,\"a\":2}", 400, "", "not JSON"},
      {"{}", 400, "messages", "messages"},
      {R"({"messages":[]})", 400, "messages", "is empty"},
      {R"({"messages":"hi"})", 400, "messages", "is a string"},
      {R"({"messages":[3]})", 400, "messages[0]", "must be an object"},
      {R"({"messages":[{"role":1,"content":"x"}]})", 400, "messages[0].role", "is a"},
      {R"({"messages":[{"role":"user","content":5}]})", 400, "messages[0].content", "string"},
      {R"({"messages":[{"role":"user"}]})", 400, "messages[0]", "no content"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})", 400,
       "messages[0].content[0].type", "text only"},
      {R"("n":0)", 400, "n", "between 1 and 128"},
      {R"("n":1.5)", 400, "n", "integer"},
      {R"("temperature":"hot")", 400, "temperature", "number"},
      {R"("temperature":-1)", 400, "temperature", "between 0 and"},
      {R"("top_p":1.5)", 400, "top_p", "between 0 and 1"},
      {R"("stream":"yes")", 400, "stream", "is a string"},
      {R"("stream_options":{"include_usage":true})", 400, "stream_options", "stream"},
      {R"("max_tokens":0)", 400, "max_tokens", "between 1 and"},
      {R"("max_tokens":5,"max_completion_tokens":6)", 400, "max_tokens", "one of the two"},
      {R"("stop":["a",3])", 400, "stop[1]", "string"},
      {R"("stop":"")", 400, "stop", "is empty"},
      {R"("stop":{"a":1})", 400, "stop", "array of strings"},
      {R"("stop_token_ids":[100000])", 400, "stop_token_ids[0]", "token ids are 0 to"},
      {R"("logit_bias":{"x":1})", 400, "logit_bias", "token ids are 0 to"},
      {R"("logit_bias":{"5":200})", 400, "logit_bias.5", "between -100 and 100"},
      {R"("top_logprobs":3)", 400, "top_logprobs", "logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", 400, "top_logprobs", "between 0 and 20"},
      {R"("seed":"x")", 400, "seed", "is a string"},
      {R"("reasoning_effort":"extreme")", 400, "reasoning_effort", "none, minimal"},
      {R"("max_thinking_tokens":-1)", 400, "max_thinking_tokens", "between 0"},
      {R"("continue_final_message":true)", 400, "messages[0].role", "assistant"},
      {R"("response_format":{"type":"yaml"})", 400, "response_format.type", "json_schema"},
      {R"("tools":[{"type":"function","function":{"name":""}}])", 400, "tools[0].function.name", "1 to 128"},
      {R"("functions":[{"name":"x"}])", 400, "functions", "give tools"},
      {R"("model":"gpt-4o")", 404, "model", "does not exist"},
      {R"("model":7)", 400, "model", "string"},
  };
  for (const BadBody& c : cases) {
    const std::string body =
        std::string_view(c.body).starts_with('"') ? "{" + hi + "," + c.body + "}" : c.body;
    const HttpAnswer answer = server().ask("POST", "/v1/chat/completions", body);
    EXPECT_EQ(answer.status, c.status) << body << answer.body;
    const Json error = answer.json().at("error");
    EXPECT_EQ(error.get_string_or("param", ""), c.param) << body << answer.body;
    EXPECT_NE(error.get_string("message").find(c.message), std::string::npos) << body << answer.body;
    EXPECT_EQ(error.get_string("message").find('\n'), std::string::npos);
    EXPECT_EQ(error.get_string("type"), c.status == 404 ? "not_found_error" : "invalid_request_error");
    EXPECT_TRUE(error.contains("code"));
  }
}

TEST(Errors, OfCompletions) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":[1,"a"]})", "prompt[1]"},
      {R"({"prompt":[99999]})", "prompt[0]"},
      {R"({"prompt":["a",[1]],"logprobs":true})", "logprobs"},
      {R"({"prompt":"a","best_of":4})", "best_of"},
      {R"({"prompt":"a","suffix":"b"})", "suffix"}};
  for (const auto& [body, param] : cases) {
    const HttpAnswer answer = server().ask("POST", "/v1/completions", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.json().at("error").get_string_or("param", ""), param) << answer.body;
  }
}

TEST(Errors, ATooLongPromptIsRefusedWithTheNumbers) {
  const HttpAnswer answer = server().post("/v1/chat/completions", question(std::string(3000, '7')));
  EXPECT_EQ(answer.status, 400);
  const Json error = answer.json().at("error");
  EXPECT_EQ(error.get_string("code"), "context_length_exceeded");
  EXPECT_NE(error.get_string("message").find("1024"), std::string::npos);
  EXPECT_NE(error.get_string("message").find("3003"), std::string::npos) << error.dump();
}

TEST(Errors, RoutesAndMethods) {
  EXPECT_EQ(server().ask("GET", "/nothing").status, 404);
  EXPECT_EQ(server().ask("GET", "/v1/chat/completions").status, 405);
  EXPECT_EQ(server().ask("POST", "/health", "{}").status, 405);
  EXPECT_EQ(server().ask("GET", "/health?verbose=1").status, 200);
}

TEST(Errors, UnknownFieldsAreIgnoredAndNamedOnce) {
  TestServer other;
  for (int i = 0; i < 3; ++i)
    other.chat(question().set("max_tokens", 1).set("frobnicate", 1).set("store", false));
  int64_t named = 0;
  for (const std::string& line : other.log()) named += line.find("frobnicate") != std::string::npos ? 1 : 0;
  EXPECT_EQ(named, 1);
}

TEST(Errors, TheLogHasALinePerRequestAndNoText) {
  TestServer other;
  const Json got = other.chat(question("Make 31 from 7, 6 and 18.").set("max_tokens", 4));
  other.log_of(1);
  other.post("/v1/chat/completions", question().set("n", 0));
  const std::vector<std::string> log = other.log_of(2);
  ASSERT_EQ(log.size(), 2u);
  EXPECT_NE(log[0].find(got.get_string("id")), std::string::npos);
  EXPECT_NE(log[0].find("generated=4"), std::string::npos);
  for (const std::string& line : log) EXPECT_EQ(line.find("Make 31"), std::string::npos);
}

TEST(Keys, AreCheckedAndSeparateCachedPrefixes) {
  const auto file = std::filesystem::temp_directory_path() / ("r1-keys-" + std::to_string(::getpid()));
  std::ofstream(file) << "# two people\nanna-key\n\n  ben-key  \n";
  ServerOptions options;
  options.keys = ApiKeys::load(file);
  TestServer other(options);
  std::filesystem::remove(file);
  const auto with = [](const std::string& key) { return "Authorization: Bearer " + key + "\r\n"; };
  for (const std::string& headers : {std::string(), with("anna"), with("anna-key2"), with(""),
                                     std::string("Authorization: anna-key\r\n")}) {
    const HttpAnswer answer = other.post("/v1/chat/completions", question(), headers);
    EXPECT_EQ(answer.status, 401) << headers;
    EXPECT_EQ(answer.json().at("error").get_string("code"), "invalid_api_key");
  }
  EXPECT_EQ(other.ask("GET", "/metrics").status, 401);
  EXPECT_EQ(other.ask("GET", "/health").status, 200);
  const Json body =
      question("This question has more than thirty-two tokens, whatever they are.").set("max_tokens", 2);
  const auto cached = [&](const std::string& key) {
    return other.post("/v1/chat/completions", body, with(key))
        .json()
        .at("usage")
        .at("prompt_tokens_details")
        .get_int("cached_tokens");
  };
  EXPECT_EQ(cached("anna-key"), 0);
  EXPECT_GT(cached("anna-key"), 0);
  EXPECT_EQ(cached("ben-key"), 0);
  EXPECT_GT(cached("ben-key"), 0);
}

TEST(Keys, FilesOfNoUseAreRefused) {
  const auto file = std::filesystem::temp_directory_path() / ("r1-keys-" + std::to_string(::getpid()));
  for (const char* text : {"", "# nothing\n", "two words\n"}) {
    std::ofstream(file) << text;
    EXPECT_THROW(ApiKeys::load(file), Error) << text;
  }
  std::filesystem::remove(file);
}

TEST(Browsers, PagesOfOtherOriginsMayNotUseTheServer) {
  const std::string host = "Host: localhost:" + std::to_string(server().port()) + "\r\n";
  EXPECT_EQ(server().ask("GET", "/v1/models", "", "Origin: http://evil.example\r\n").status, 403);
  Connection rebound(server().port());
  rebound.send("GET /v1/models HTTP/1.1\r\nHost: evil.example:80\r\n\r\n");
  EXPECT_EQ(read_answer(rebound).status, 403);
  Connection own(server().port());
  own.send("GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nOrigin: http://127.0.0.1:8000\r\n\r\n");
  const HttpAnswer answer = read_answer(own);
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
}

TEST(Keys, AKeyThatHasReachedItsLimitIsToldWhenToComeAgain) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("r1-quota-keys-" + std::to_string(::getpid()));
  std::ofstream(file) << "anna requests_per_minute=2\nben tokens_per_day=10\ncarl\n";
  ServerOptions options;
  options.keys = ApiKeys::load(file);
  std::filesystem::remove(file);
  TestServer other(options);
  const auto ask = [&](const std::string& key, const char* route = "/v1/chat/completions") {
    return other.post(route, question().set("max_tokens", 2), "Authorization: Bearer " + key + "\r\n");
  };
  EXPECT_EQ(ask("anna").status, 200);
  EXPECT_EQ(ask("anna").status, 200);
  const HttpAnswer refused = ask("anna");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.json().at("error").get_string("code"), "rate_limit_exceeded");
  EXPECT_EQ(refused.json().at("error").get_string("type"), "rate_limit_error");
  const int wait = std::atoi(refused.headers.at("retry-after").c_str());
  EXPECT_GE(wait, 1);
  EXPECT_LE(wait, 60);
  const HttpAnswer message = ask("anna", "/v1/messages");
  EXPECT_EQ(message.status, 429);
  EXPECT_EQ(message.json().at("error").get_string("type"), "rate_limit_error");
  // Ben's first answer takes more than a day's tokens.
  EXPECT_EQ(ask("ben").status, 200);
  const HttpAnswer spent = ask("ben");
  EXPECT_EQ(spent.status, 429);
  EXPECT_GT(std::atoi(spent.headers.at("retry-after").c_str()), 3600);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask("carl").status, 200);
  // Questions about text and the server cost nothing.
  EXPECT_EQ(other.ask("GET", "/v1/models", "", "Authorization: Bearer anna\r\n").status, 200);
}

}  // namespace
}  // namespace r1::api_test
