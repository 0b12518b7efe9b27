// Calls of functions: tools, tool_choice, parallel_tool_calls, streams of arguments, and the model's formats.
#include "base/file.h"
#include "engine/grammar/grammar.h"
#include "server/tool_prompt.h"
#include "tests/server/server_test_util.h"

namespace r1::tools_test {
namespace {

using namespace test;

TestServer& server() {
  static TestServer one;
  return one;
}

Json parsed(const std::string& text) {
  return parse_json(text, "test");
}

const char* const kAdd =
    R"({"type":"object","properties":{"a":{"type":"integer","minimum":0,"maximum":99},"b":{"type":"integer","minimum":0,"maximum":99}},)"
    R"("required":["a","b"]})";
const char* const kSay =
    R"({"type":"object","properties":{"word":{"enum":["left","right"]}},"required":["word"]})";

Json tool_of(const std::string& name, const std::string& schema) {
  Json function = Json::object().set("name", name).set("description", "Does " + name + ".");
  function.set("parameters", parsed(schema));
  return Json::object().set("type", "function").set("function", std::move(function));
}

Json two_tools() {
  return Json::array().push_back(tool_of("add", kAdd)).push_back(tool_of("say", kSay));
}

Json asking(Json choice, int64_t seed = 7) {
  return question("Make 24 from 12, 11 and 47.", seed)
      .set("tools", two_tools())
      .set("tool_choice", std::move(choice))
      .set("max_thinking_tokens", 5)
      .set("parallel_tool_calls", false)
      .set("max_tokens", 300);
}

Json named(const std::string& name) {
  return Json::object().set("type", "function").set("function", Json::object().set("name", name));
}

void check_call(const Json& call) {
  EXPECT_EQ(call.get_string("type"), "function");
  EXPECT_TRUE(call.get_string("id").starts_with("call_"));
  const Json& function = call.at("function");
  const std::string& name = function.get_string("name");
  ASSERT_TRUE(name == "add" || name == "say") << name;
  GrammarState state(Grammar::from_json_schema(parsed(name == "add" ? kAdd : kSay), "test"));
  EXPECT_TRUE(state.accept(function.get_string("arguments")) && state.is_complete()) << function.dump();
}

TEST(Tools, ARequiredCallHasArgumentsOfItsSchema) {
  int thoughts = 0;  // that are not empty
  for (int seed = 0; seed < 5; ++seed) {
    const Json got = server().chat(asking("required", seed));
    const Json& choice = got.at("choices").at(size_t{0});
    const Json& message = choice.at("message");
    EXPECT_EQ(choice.get_string("finish_reason"), "tool_calls");
    EXPECT_TRUE(message.at("content").is_null());
    thoughts += message.at("reasoning_content").is_null() ? 0 : 1;
    ASSERT_GT(message.at("tool_calls").size(), 0u);
    for (const Json& call : message.at("tool_calls").items()) check_call(call);
  }
  EXPECT_GT(thoughts, 0);
}

TEST(Tools, ANamedFunctionIsTheOnlyOneThatIsCalled) {
  for (const std::string name : {"add", "say"}) {
    const Json got = server().chat(asking(named(name)));
    const Json& calls = got.at("choices").at(size_t{0}).at("message").at("tool_calls");
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_EQ(calls.at(size_t{0}).at("function").get_string("name"), name);
    check_call(calls.at(size_t{0}));
  }
}

TEST(Tools, AStreamHasTheSameCallsInParts) {
  for (int seed = 0; seed < 4; ++seed) {
    // A limit may cut the last of several calls.
    Json body = asking("required", seed).set("n", 2).set("parallel_tool_calls", seed % 2 == 0);
    const Json whole = server().chat(body);
    const Stream stream = server().chat_stream(body);
    EXPECT_TRUE(stream.done);
    for (size_t i = 0; i < 2; ++i) {
      std::vector<Json> calls;
      size_t parts = 0;
      std::string finish;
      for (const Json& chunk : stream.chunks) {
        const Json& choice = chunk.at("choices").at(size_t{0});
        if (choice.get_int("index") != static_cast<int64_t>(i)) continue;
        if (!choice.at("finish_reason").is_null()) finish = choice.get_string("finish_reason");
        const Json* list = choice.at("delta").find("tool_calls");
        if (list == nullptr) continue;
        EXPECT_FALSE(choice.at("delta").contains("content"));
        for (const Json& part : list->items()) {
          ++parts;
          const auto index = static_cast<size_t>(part.get_int("index"));
          if (index == calls.size()) {
            Json call = Json::object().set("id", part.get_string("id")).set("type", part.get_string("type"));
            calls.push_back(call.set(
                "function",
                Json::object().set("name", part.at("function").get_string("name")).set("arguments", "")));
          } else {
            EXPECT_FALSE(part.contains("id"));
          }
          ASSERT_EQ(index + 1, calls.size());
          Json function = calls[index].at("function");
          const std::string text =
              function.get_string("arguments") + part.at("function").get_string("arguments");
          calls[index].set("function", function.set("arguments", text));
        }
      }
      EXPECT_EQ(finish, whole.at("choices").at(i).get_string("finish_reason"));
      if (seed % 2 == 1) {
        EXPECT_EQ(finish, "tool_calls");
      }
      EXPECT_GT(parts, calls.size());  // arguments came in parts
      EXPECT_EQ(Json::array_of(calls), whole.at("choices").at(i).at("message").at("tool_calls"));
    }
  }
}

TEST(Tools, WithoutACallAnAutomaticAnswerIsText) {
  const Json got = server().chat(asking("auto"));
  const Json& choice = got.at("choices").at(size_t{0});
  const Json& message = choice.at("message");
  if (message.contains("tool_calls")) {
    EXPECT_EQ(choice.get_string("finish_reason"), "tool_calls");
    for (const Json& call : message.at("tool_calls").items()) check_call(call);
  } else {
    EXPECT_EQ(choice.get_string("finish_reason"), "stop");
    EXPECT_FALSE(content_of(got).empty());
  }
}

// An answer is constrained as a whole.
TEST(Tools, GoingOnWithAnAnswerThatMayCallIsRefused) {
  Json messages = question().at("messages");
  messages.push_back(Json::object().set("role", "assistant").set("content", "Let me see.\n<tool_call>"));
  Json body = asking("auto").set("messages", messages).set("continue_final_message", true);
  EXPECT_EQ(server().post("/v1/chat/completions", body).status, 400);
}

TEST(Tools, NoneAndNoToolsAreAPlainAnswer) {
  Json plain = question().set("max_thinking_tokens", 5).set("max_tokens", 300);
  const std::string want = server().chat(plain).at("choices").dump();
  EXPECT_EQ(server().chat(asking("none")).at("choices").dump(), want);
  EXPECT_EQ(server().chat(Json(plain).set("tools", Json::array())).at("choices").dump(), want);
}

TEST(Tools, AllowedToolsAreASelection) {
  Json allowed = Json::object().set("mode", "required").set("tools", Json::array().push_back(named("say")));
  Json choice = Json::object().set("type", "allowed_tools").set("allowed_tools", allowed);
  const Json got = server().chat(asking(choice));
  const Json& calls = got.at("choices").at(size_t{0}).at("message").at("tool_calls");
  for (const Json& call : calls.items()) EXPECT_EQ(call.at("function").get_string("name"), "say");
}

TEST(Tools, ACallThatTheLimitCutsSaysSo) {
  for (const bool stream : {false, true}) {
    Json body = asking(named("add")).set("max_thinking_tokens", 0);
    int cut = 0;
    for (int64_t limit = 40; limit < 70; limit += 3) {
      body.set("max_tokens", limit);
      const HttpAnswer answer = server().post("/v1/chat/completions", body.set("stream", stream));
      if (answer.status == 400) {
        EXPECT_EQ(answer.json().at("error").get_string("param"), "max_tokens");
        continue;
      }
      const Json last = stream ? events_of(answer.body).chunks.back() : answer.json();
      const Json& choice = last.at("choices").at(size_t{0});
      if (choice.get_string("finish_reason") == "tool_calls") continue;
      EXPECT_EQ(choice.get_string("finish_reason"), "length");
      EXPECT_EQ(choice.get_string("finish_detail"), "length_incomplete_call");
      ++cut;
    }
    EXPECT_GT(cut, 0);
  }
}

TEST(Tools, ResultsGoBackToTheModel) {
  const Json first = server().chat(asking(named("add")));
  const Json& message = first.at("choices").at(size_t{0}).at("message");
  Json messages = question().at("messages");
  messages.push_back(message);  // as clients send it back, with all its fields
  messages.push_back(Json::object()
                         .set("role", "tool")
                         .set("tool_call_id", message.at("tool_calls").at(size_t{0}).get_string("id"))
                         .set("content", "the sum is 35"));
  const Json body = question().set("messages", messages).set("tools", two_tools());
  const std::string prompt = server().post("/apply-template", body).json().get_string("prompt");
  EXPECT_NE(prompt.find("the sum is 35"), std::string::npos) << prompt;
  EXPECT_NE(prompt.find(message.at("tool_calls").at(size_t{0}).at("function").get_string("arguments")),
            std::string::npos);
  EXPECT_NE(prompt.find("Does add."), std::string::npos) << prompt;
  EXPECT_EQ(server().post("/v1/chat/completions", body).status, 200);
  // Names of calls differ between the turns of one seed.
  const Json second =
      server().chat(Json(body).set("tool_choice", "required").set("seed", 7).set("max_thinking_tokens", 5));
  EXPECT_NE(second.at("choices").at(size_t{0}).at("message").at("tool_calls").at(size_t{0}).get_string("id"),
            message.at("tool_calls").at(size_t{0}).get_string("id"));
}

TEST(Tools, WrongToolsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"tools":[{"type":"custom","custom":{}}]})", "tools[0].type"},
      {R"({"tools":[{"type":"function","function":{"name":"a b"}}]})", "tools[0].function.name"},
      {R"({"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}]})",
       "tools[1].function.name"},
      {R"({"tools":[{"type":"function","function":{"name":"a","parameters":{"type":"string"}}}]})",
       "tools[0].function.parameters.type"},
      {R"({"tools":[{"type":"function","function":{"name":"a","parameters":{"properties":{"x":{"uniqueItems":true,"type":"array"}}}}}]})",
       "tools[0].function.parameters.properties.x.uniqueItems"},
      {R"({"tool_choice":"required"})", "tool_choice"},
      {R"({"tool_choice":{"type":"function","function":{"name":"x"}}})", "tool_choice.function.name"},
      {R"({"functions":[{"name":"x"}]})", "functions"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"x","arguments":"no"}}]}]})",
       "messages[0].tool_calls[0].function.arguments"}};
  for (const auto& [fields, param] : cases) {
    Json body = question();
    const Json more = parsed(fields);
    for (const auto& [name, value] : more.members()) body.set(name, value);
    const HttpAnswer answer = server().post("/v1/chat/completions", body);
    EXPECT_EQ(answer.status, 400) << fields << answer.body;
    EXPECT_EQ(answer.json().at("error").get_string_or("param", ""), param) << answer.body;
  }
  // A function that is not strict takes any object in place of what is not supported.
  Json loose = tool_of("free", R"({"properties":{"x":{"type":"array","uniqueItems":true}}})");
  loose.set("function", Json(loose.at("function")).set("strict", false));
  const HttpAnswer answer = server().post(
      "/v1/chat/completions", question().set("tools", Json::array().push_back(loose)).set("max_tokens", 20));
  EXPECT_EQ(answer.status, 200) << answer.body;
}

// The formats that the templates of published models write are recognised.
TEST(ToolPrompt, FormatsOfPublishedModelsAreRecognised) {
  const char* data = std::getenv("R1_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "R1_TEST_DATA is not set: no published templates";
  struct Case {
    const char* file;
    ToolStyle style;
    bool calls, functions;
  };
  const Case cases[] = {
      {"Qwen-Qwen3-0.6B.jinja", ToolStyle::hermes, true, true},
      {"Qwen-Qwen2.5-7B-Instruct.jinja", ToolStyle::hermes, true, true},
      {"Qwen-QwQ-32B.jinja", ToolStyle::hermes, true, true},
      {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja", ToolStyle::hermes, true, true},
      {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", ToolStyle::deepseek_r1, true, false},
      {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", ToolStyle::deepseek_r1, true, false},
      {"deepseek-ai-DeepSeek-V3.1.jinja", ToolStyle::deepseek_v31, true, false},
      {"meta-llama-Llama-3.1-8B-Instruct.jinja", ToolStyle::hermes, false, false},
      {"google-gemma-2-2b-it.jinja", ToolStyle::hermes, false, false}};
  for (const Case& c : cases) {
    ModelBundle bundle = ModelBundle::load(std::filesystem::path(R1_SOURCE_DIR) / "models/r1-nano",
                                           DType::f32, WeightUse::inference);
    const std::filesystem::path file = std::filesystem::path(data) / "templates" / c.file;
    bundle.chat_template = ChatTemplates::of(read_file(file), c.file);
    const ToolPrompt prompt(bundle);
    EXPECT_EQ(static_cast<int>(prompt.style()), static_cast<int>(c.style)) << c.file;
    EXPECT_EQ(prompt.template_writes_calls(), c.calls) << c.file;
    EXPECT_EQ(prompt.template_writes_functions(), c.functions) << c.file;
    // Whatever the template leaves out, the whole conversation reaches the model.
    ChatInput input;
    input.messages.push_back(user_message("What is 12 + 23?"));
    Json function = Json::object().set("name", "add").set("arguments", R"({"a": 12, "b": 23})");
    Json call = Json::object().set("id", "abcdefghi").set("type", "function").set("function", function);
    Json said = Json::object().set("role", "assistant").set("content", "");
    input.messages.push_back(said.set("tool_calls", Json::array().push_back(call)));
    input.messages.push_back(
        Json::object().set("role", "tool").set("tool_call_id", "abcdefghi").set("content", "35"));
    input.tools = two_tools();
    prompt.apply(input);
    const std::string text = bundle.chat_text(input);
    for (const char* part : {"Does say.", "12 + 23", "\"a\": 12", "35", "add"})
      EXPECT_NE(text.find(part), std::string::npos) << c.file << ": " << part << "\n" << text;
    EXPECT_NE(text.find(prompt.syntax().call_begin + "add" + prompt.syntax().name_end), std::string::npos)
        << c.file;
  }
}

}  // namespace
}  // namespace r1::tools_test
