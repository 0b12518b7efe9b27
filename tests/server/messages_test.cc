// POST /v1/messages and /v1/messages/count_tokens: the form of Anthropic's API.
#include <fstream>

#include "engine/grammar/grammar.h"
#include "server/messages_request.h"
#include "tests/server/server_test_util.h"

namespace r1::messages_test {
namespace {

using namespace test;

TestServer& server() {
  static TestServer one;
  return one;
}

Json parsed(const std::string& text) {
  return parse_json(text, "request");
}

Json asking(int64_t seed = 7) {
  Json body = question("Make 24 from 12, 11 and 47.", seed);
  return body.set("max_tokens", 300);
}

Json thinking(int64_t budget) {
  return Json::object().set("type", "enabled").set("budget_tokens", budget);
}

Json message_of(const Json& body) {
  const HttpAnswer answer = server().post("/v1/messages", body);
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.json();
}

struct NamedEvent {
  std::string name;
  Json data;
};
std::vector<NamedEvent> named_events(const std::string& body) {
  std::vector<NamedEvent> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at), line = body.find('\n', at);
    EXPECT_NE(end, std::string::npos);
    if (end == std::string::npos) break;
    EXPECT_EQ(body.substr(at, 7), "event: ");
    EXPECT_EQ(body.substr(line + 1, 6), "data: ");
    events.push_back({body.substr(at + 7, line - at - 7), parsed(body.substr(line + 7, end - line - 7))});
    EXPECT_EQ(events.back().name, events.back().data.get_string("type"));
    at = end + 2;
  }
  return events;
}

TEST(Messages, AnswersAsAChatWithThatSeed) {
  const Json chat = server().chat(asking().set("max_thinking_tokens", 50));
  const Json got = message_of(asking().set("thinking", thinking(50)));
  EXPECT_EQ(got.get_string("type"), "message");
  EXPECT_EQ(got.get_string("role"), "assistant");
  EXPECT_EQ(got.get_string("model"), "r1-nano");
  EXPECT_TRUE(got.get_string("id").starts_with("msg_"));
  ASSERT_EQ(got.at("content").size(), 2u);
  EXPECT_EQ(got.at("content").at(size_t{0}).get_string("type"), "thinking");
  EXPECT_EQ(got.at("content").at(size_t{0}).get_string("thinking"), reasoning_of(chat));
  EXPECT_EQ(got.at("content").at(size_t{1}).get_string("text"), content_of(chat));
  EXPECT_EQ(got.get_string("stop_reason"), "end_turn");
  EXPECT_TRUE(got.at("stop_sequence").is_null());
  const Json& usage = got.at("usage");
  EXPECT_EQ(usage.get_int("input_tokens") + usage.get_int("cache_read_input_tokens"),
            chat.at("usage").get_int("prompt_tokens"));
  EXPECT_EQ(usage.get_int("output_tokens"), chat.at("usage").get_int("completion_tokens"));
}

TEST(Messages, WithoutThinkingThereIsNoThought) {
  for (const Json& body : {asking(), asking().set("thinking", Json::object().set("type", "disabled"))}) {
    const Json got = message_of(body);
    ASSERT_EQ(got.at("content").size(), 1u);
    EXPECT_EQ(got.at("content").at(size_t{0}).get_string("type"), "text");
  }
}

TEST(Messages, TheBudgetBoundsTheThought) {
  const Json got = message_of(asking().set("thinking", thinking(4)));
  const Json chat = server().chat(asking().set("max_thinking_tokens", 4));
  EXPECT_EQ(got.at("content").at(size_t{0}).get_string("thinking"), reasoning_of(chat));
}

TEST(Messages, AStreamHasTheSameBlocksAsNamedEvents) {
  Json tools = Json::array().push_back(parsed(
      R"({"name":"add","description":"Adds.","input_schema":{"type":"object","properties":{"a":{"type":"integer","maximum":9,"minimum":0}},"required":["a"]}})"));
  const std::vector<Json> bodies{
      asking(), asking().set("thinking", thinking(6)), asking().set("max_tokens", 3),
      asking()
          .set("tools", tools)
          .set("tool_choice", parsed(R"({"type":"any","disable_parallel_tool_use":true})"))
          .set("thinking", thinking(3))};
  for (const Json& body : bodies) {
    const Json whole = message_of(body);
    const HttpAnswer answer = server().post("/v1/messages", Json(body).set("stream", true));
    ASSERT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type").substr(0, 17), "text/event-stream");
    const std::vector<NamedEvent> events = named_events(answer.body);
    ASSERT_GE(events.size(), 5u);
    EXPECT_EQ(events.front().name, "message_start");
    EXPECT_EQ(events.front().data.at("message").at("content").size(), 0u);
    EXPECT_EQ(events.back().name, "message_stop");
    std::vector<Json> blocks;
    std::string partial;
    bool open = false;
    for (const NamedEvent& e : events) {
      if (e.name == "content_block_start") {
        EXPECT_FALSE(open);
        open = true;
        EXPECT_EQ(e.data.get_int("index"), std::ssize(blocks));
        blocks.push_back(e.data.at("content_block"));
        partial.clear();
      } else if (e.name == "content_block_delta") {
        ASSERT_TRUE(open);
        const Json& delta = e.data.at("delta");
        const std::string& type = delta.get_string("type");
        Json& block = blocks.back();
        if (type == "text_delta") block.set("text", block.get_string("text") + delta.get_string("text"));
        if (type == "thinking_delta")
          block.set("thinking", block.get_string("thinking") + delta.get_string("thinking"));
        if (type == "signature_delta") block.set("signature", delta.get_string("signature"));
        if (type == "input_json_delta") partial += delta.get_string("partial_json");
      } else if (e.name == "content_block_stop") {
        open = false;
        if (blocks.back().get_string("type") == "tool_use") blocks.back().set("input", parsed(partial));
      }
    }
    EXPECT_FALSE(open);
    EXPECT_EQ(Json::array_of(blocks).dump(), whole.at("content").dump());
    const NamedEvent& last = events[events.size() - 2];
    EXPECT_EQ(last.name, "message_delta");
    EXPECT_EQ(last.data.at("delta").at("stop_reason"), whole.at("stop_reason"));
    EXPECT_EQ(last.data.at("usage").at("output_tokens"), whole.at("usage").at("output_tokens"));
  }
}

TEST(Messages, StopSequencesAndLimitsAreReasons) {
  const std::string said = message_of(asking()).at("content").at(size_t{0}).get_string("text");
  ASSERT_GT(said.size(), 4u);
  const std::string stop = said.substr(2, 2);
  const Json cut = message_of(asking().set("stop_sequences", Json::array().push_back(stop)));
  EXPECT_EQ(cut.get_string("stop_reason"), "stop_sequence");
  EXPECT_EQ(cut.get_string("stop_sequence"), stop);
  EXPECT_EQ(cut.at("content").at(size_t{0}).get_string_or("text", ""), said.substr(0, said.find(stop)));
  EXPECT_EQ(message_of(asking().set("max_tokens", 2)).get_string("stop_reason"), "max_tokens");
}

TEST(Messages, ToolsAreUsedAndTheirResultsComeBack) {
  Json tools = Json::array().push_back(parsed(
      R"({"name":"say","input_schema":{"type":"object","properties":{"word":{"enum":["left","right"]}},"required":["word"]}})"));
  Json body =
      asking()
          .set("tools", tools)
          .set("tool_choice", parsed(R"({"type":"tool","name":"say","disable_parallel_tool_use":true})"));
  const Json got = message_of(body);
  EXPECT_EQ(got.get_string("stop_reason"), "tool_use");
  const Json& use = got.at("content").items().back();
  EXPECT_EQ(use.get_string("type"), "tool_use");
  EXPECT_EQ(use.get_string("name"), "say");
  EXPECT_TRUE(use.get_string("id").starts_with("toolu_"));
  const std::string word = use.at("input").get_string("word");
  EXPECT_TRUE(word == "left" || word == "right");
  Json messages = body.at("messages");
  messages.push_back(Json::object().set("role", "assistant").set("content", got.at("content")));
  Json result = Json::object().set("type", "tool_result").set("tool_use_id", use.get_string("id"));
  result.set("content", Json::array().push_back(Json::object().set("type", "text").set("text", "turned")));
  Json text = Json::object().set("type", "text").set("text", "And now?");
  messages.push_back(
      Json::object().set("role", "user").set("content", Json::array().push_back(result).push_back(text)));
  EXPECT_EQ(message_of(asking().set("messages", messages).set("tools", tools)).get_string("type"), "message");
  const ApiRequest request = read_messages_request(parsed(asking().set("messages", messages).dump()),
                                                   {.sampling = {}, .vocab_size = 10});
  ASSERT_EQ(request.chat.messages.size(), 4u);
  EXPECT_EQ(request.chat.messages.at(2).get_string("role"), "tool");
  EXPECT_EQ(request.chat.messages.at(2).get_string("content"), "turned");
  EXPECT_EQ(request.chat.messages.at(3).get_string("content"), "And now?");
  EXPECT_EQ(request.chat.messages.at(1).at("tool_calls").at(size_t{0}).at("function").get_string("name"),
            "say");
}

TEST(Messages, AnOutputFormatIsKept) {
  const std::string schema =
      R"({"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":5}},"required":["n"],"additionalProperties":false})";
  const Json config = parsed(R"({"format":{"type":"json_schema","schema":)" + schema + "}}");
  const Json got = message_of(asking().set("output_config", config));
  GrammarState state(Grammar::from_json_schema(parsed(schema), "test"));
  const std::string text = got.at("content").at(size_t{0}).get_string("text");
  EXPECT_TRUE(state.accept(text) && state.is_complete()) << text;
}

TEST(Messages, TokensAreCountedWithoutTheModel) {
  const HttpAnswer answer = server().post("/v1/messages/count_tokens", question());
  EXPECT_EQ(answer.status, 200) << answer.body;
  const Json got = message_of(asking());
  EXPECT_EQ(answer.json().get_int("input_tokens"),
            got.at("usage").get_int("input_tokens") + got.at("usage").get_int("cache_read_input_tokens"));
}

TEST(Messages, AnAssistantsLastMessageIsGoneOnWith) {
  Json messages = asking().at("messages");
  messages.push_back(Json::object().set("role", "assistant").set("content", "<answer>"));
  const Json got = message_of(asking().set("messages", messages));
  EXPECT_EQ(got.get_string("type"), "message");
}

TEST(Messages, ErrorsHaveTheirFormAndNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"max_tokens":null})", "max_tokens"},
      {R"({"max_tokens":"x"})", "max_tokens"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":[{"role":"system","content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]})",
       "messages[0].content[0].type"},
      {R"({"thinking":{"type":"enabled","budget_tokens":300}})", "thinking.budget_tokens"},
      {R"({"tools":[{"type":"web_search_20250305","name":"web_search"}]})", "tools[0].type"},
      {R"({"tool_choice":{"type":"any"}})", "tool_choice"},
      {R"({"tools":[{"name":"a","input_schema":{"properties":{"x":{"nope":1}}}}]})",
       "tools[0].input_schema.properties.x.nope"}};
  for (const auto& [fields, param] : cases) {
    Json body = asking();
    const Json more = parsed(fields);
    for (const auto& [name, value] : more.members()) body.set(name, value);
    const HttpAnswer answer = server().post("/v1/messages", body);
    EXPECT_EQ(answer.status, 400) << fields;
    const Json error = answer.json();
    EXPECT_EQ(error.get_string("type"), "error");
    EXPECT_EQ(error.at("error").get_string("type"), "invalid_request_error");
    EXPECT_EQ(error.at("error").get_string_or("param", ""), param) << answer.body;
    EXPECT_FALSE(error.get_string("request_id").empty());
  }
  const HttpAnswer unknown = server().post("/v1/messages", asking().set("model", "other"));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.json().at("error").get_string("type"), "not_found_error");
}

TEST(Messages, AKeyMayComeInItsOwnHeader) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("r1-messages-keys-" + std::to_string(::getpid()));
  {
    std::ofstream out(file);
    out << "secret\n";
  }
  ServerOptions options;
  options.keys = ApiKeys::load(file);
  std::filesystem::remove(file);
  TestServer other(options);
  EXPECT_EQ(other.post("/v1/messages", asking(), "x-api-key: secret\r\n").status, 200);
  const HttpAnswer wrong = other.post("/v1/messages", asking(), "x-api-key: guess\r\n");
  EXPECT_EQ(wrong.status, 401);
  EXPECT_EQ(wrong.json().at("error").get_string("type"), "authentication_error");
}

}  // namespace
}  // namespace r1::messages_test
