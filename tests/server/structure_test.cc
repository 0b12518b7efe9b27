// The form of answers: response_format, grammars, and what becomes of answers that are cut.
#include <atomic>
#include <cstring>
#include <regex>

#include "engine/grammar/grammar.h"
#include "tests/server/server_test_util.h"

namespace r1::structure_test {
namespace {

using namespace test;

TestServer& server() {
  static TestServer one;
  return one;
}

Json parsed(const std::string& text) {
  return parse_json(text, "test");
}

const char* const kSchema =
    R"({"type":"object","properties":{"answer":{"type":"integer","minimum":0,"maximum":99},"sure":{"type":"boolean"}},)"
    R"("required":["answer","sure"],"additionalProperties":false})";

Json format_of(const std::string& schema) {
  Json holder = Json::object().set("name", "thing").set("strict", true).set("schema", parsed(schema));
  return Json::object().set("type", "json_schema").set("json_schema", std::move(holder));
}

bool fits(const std::string& schema, const std::string& text) {
  GrammarState state(Grammar::from_json_schema(parsed(schema), "test"));
  return state.accept(text) && state.is_complete();
}

const Json& choice_of(const Json& answer, size_t i = 0) {
  return answer.at("choices").at(i);
}

// A whole answer must be a text of the schema. One that was cut must say so.
void check_choice(const Json& choice, const std::string& content, const std::string& schema) {
  const std::string& reason = choice.get_string("finish_reason");
  const std::string& detail = choice.get_string("finish_detail");
  const bool whole = fits(schema, content);
  EXPECT_EQ(detail.ends_with("_incomplete_json"), !whole) << detail << ": " << content;
  if (!whole) {
    EXPECT_EQ(reason, "length") << content;
  }
  if (reason == "stop") {
    EXPECT_TRUE(whole) << content;
  }
}

TEST(Structure, AnAnswerFollowsItsSchemaBehindTheThought) {
  for (int seed = 0; seed < 6; ++seed) {
    const Json got = server().chat(
        question("Make 24 from 12, 11 and 47.", seed).set("response_format", format_of(kSchema)));
    const std::string content = content_of(got);
    EXPECT_TRUE(fits(kSchema, content)) << content;
    EXPECT_EQ(choice_of(got).get_string("finish_reason"), "stop");
    EXPECT_EQ(choice_of(got).get_string("finish_detail"), "end");
    const Json value = parsed(content);
    EXPECT_LE(value.get_int("answer"), 99);
    value.get_bool("sure");
  }
}

TEST(Structure, TheThoughtIsFree) {
  const Json plain = server().chat(question());
  const Json got = server().chat(question().set("response_format", format_of(kSchema)));
  // One seed gives one thought, up to the place where the answer begins.
  EXPECT_FALSE(reasoning_of(got).empty());
  EXPECT_EQ(reasoning_of(got), reasoning_of(plain));
}

TEST(Structure, EveryCombinationOfBudgetSchemaStreamAndStopIsWholeOrSaysThatItIsNot) {
  const std::string schemas[] = {
      kSchema,
      R"({"type":"array","items":{"type":"integer","minimum":0,"maximum":9},"minItems":1,"maxItems":3})",
      R"({"enum":["left","right"]})",
      R"({"type":"object","properties":{"text":{"type":"string","maxLength":12}},"required":["text"]})"};
  const Json budgets[] = {Json::object(),
                          Json::object().set("max_thinking_tokens", 3),
                          Json::object().set("reasoning_effort", "none"),
                          Json::object().set("reasoning_effort", "low").set("max_tokens", 60),
                          Json::object().set("max_tokens", 34),
                          Json::object().set("max_thinking_tokens", 1000).set("max_tokens", 50)};
  const Json stops[] = {Json(), Json("}"), Json(","), Json("\""), Json("never written")};
  int whole = 0, cut = 0;
  for (const std::string& schema : schemas) {
    for (const Json& budget : budgets) {
      for (const Json& stop : stops) {
        Json body =
            question("Make 24 from 12, 11 and 47.", 3).set("response_format", format_of(schema)).set("n", 2);
        for (const auto& [name, value] : budget.members()) body.set(name, value);
        if (!stop.is_null()) body.set("stop", stop);
        const HttpAnswer answer = server().post("/v1/chat/completions", body);
        ASSERT_EQ(answer.status, 200) << body.dump() << answer.body;
        const Json got = answer.json();
        const Stream stream = server().chat_stream(body);
        EXPECT_TRUE(stream.done);
        for (size_t i = 0; i < 2; ++i) {
          const std::string content = content_of(got, i);
          check_choice(choice_of(got, i), content, schema);
          if (!stop.is_null()) {
            EXPECT_EQ(content.find(stop.string()), std::string::npos);
          }
          (choice_of(got, i).get_string("finish_reason") == "stop" ? whole : cut) += 1;
          const auto index = static_cast<int64_t>(i);
          EXPECT_EQ(joined(stream, "content", index), content);
          EXPECT_EQ(joined(stream, "reasoning_content", index), reasoning_of(got, i));
          for (const Json& chunk : stream.chunks) {
            const Json& c = chunk.at("choices").at(size_t{0});
            if (c.get_int("index") != index || c.at("finish_reason").is_null()) continue;
            EXPECT_EQ(c.at("finish_reason"), choice_of(got, i).at("finish_reason"));
            EXPECT_EQ(c.at("finish_detail"), choice_of(got, i).at("finish_detail"));
          }
        }
      }
    }
  }
  EXPECT_GT(whole, 20);
  EXPECT_GT(cut, 20);
}

TEST(Structure, AnAnswerAlwaysHasRoomBehindAThought) {
  // The thought alone would fill these limits.
  for (const int64_t limit : {30, 40, 60}) {
    const Json got =
        server().chat(question()
                          .set("response_format", format_of(R"({"type":"integer","minimum":0,"maximum":9})"))
                          .set("max_tokens", limit)
                          .set("max_thinking_tokens", 10000));
    EXPECT_EQ(choice_of(got).get_string("finish_reason"), "stop") << got.dump();
    EXPECT_EQ(content_of(got).size(), 1u);
  }
}

TEST(Structure, ALimitThatNoAnswerCanKeepIsRefused) {
  for (const char* field : {"max_tokens", "max_completion_tokens"}) {
    const HttpAnswer answer = server().post(
        "/v1/chat/completions", question().set("response_format", format_of(kSchema)).set(field, 4));
    EXPECT_EQ(answer.status, 400);
    const Json error = answer.json().at("error");
    EXPECT_EQ(error.get_string("param"), field);
    EXPECT_EQ(error.get_string("code"), "limit_too_small");
    EXPECT_NE(error.get_string("message").find("fits into 4 tokens"), std::string::npos) << answer.body;
  }
  const HttpAnswer raw = server().post(
      "/v1/completions", Json::object()
                             .set("prompt", "x")
                             .set("max_tokens", 1)
                             .set("guided_choice", Json::array().push_back("abcdefgh ijklmnop")));
  EXPECT_EQ(raw.status, 400) << raw.body;
}

TEST(Structure, AKeywordThatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"},"uniqueItems":true}}})",
       "response_format.json_schema.schema.properties.a.uniqueItems"},
      {R"({"type":"object","properties":{"a":{"anyOf":[{"type":"null"},{"frobnicate":1}]}}})",
       "response_format.json_schema.schema.properties.a.anyOf[1].frobnicate"},
      {R"({"type":"string","format":"iban"})", "response_format.json_schema.schema.format"},
      {R"({"type":"string","pattern":"(?=a)b"})", "response_format.json_schema.schema.pattern"},
      {R"({"$ref":"https://example.com/other.json"})", "response_format.json_schema.schema.$ref"},
      {R"({"type":"thing"})", "response_format.json_schema.schema.type"}};
  for (int round = 0; round < 2; ++round) {  // the second time from the cache
    for (const auto& [schema, param] : cases) {
      const HttpAnswer answer =
          server().post("/v1/chat/completions", question().set("response_format", format_of(schema)));
      EXPECT_EQ(answer.status, 400) << answer.body;
      EXPECT_EQ(answer.json().at("error").get_string_or("param", ""), param) << answer.body;
      EXPECT_EQ(answer.json().at("error").get_string("type"), "invalid_request_error");
    }
  }
}

TEST(Structure, SchemasWithoutAValueAreRefused) {
  const HttpAnswer answer = server().post(
      "/v1/chat/completions",
      question().set("response_format", format_of(R"({"allOf":[{"type":"integer"},{"type":"string"}]})")));
  EXPECT_EQ(answer.status, 400) << answer.body;
}

TEST(Structure, WrongFieldsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"response_format":{"type":"yaml"}})", "response_format.type"},
      {R"({"response_format":{"type":"json_schema"}})", "response_format.json_schema"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":5}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format":{"type":"json_object"},"grammar":"root ::= \"a\""})", "grammar"},
      {R"({"grammar":"root ::= missing"})", "grammar"},
      {R"({"grammar":""})", "grammar"},
      {R"({"guided_choice":[]})", "guided_choice"},
      {R"({"structured_outputs":{"structural_tag":"a"}})", "structured_outputs.structural_tag"},
      {R"s({"structured_outputs":{"regex":"a(?=b)"}})s", "structured_outputs.regex"},
      {R"({"guided_regex":""})", "guided_regex"},
      {R"({"guided_regex":["a"]})", "guided_regex"},
      {R"({"guided_regex":"a","guided_choice":["b"]})", "guided_regex"}};
  for (const auto& [fields, param] : cases) {
    Json body = question();
    const Json more = parsed(fields);
    for (const auto& [name, value] : more.members()) body.set(name, value);
    const HttpAnswer answer = server().post("/v1/chat/completions", body);
    EXPECT_EQ(answer.status, 400) << fields;
    const std::string got = answer.json().at("error").get_string_or("param", "");
    EXPECT_TRUE(got == param || std::string(param).starts_with(got)) << got << " " << answer.body;
  }
}

TEST(Structure, OtherNamesAskForTheSame) {
  const std::string gbnf = "root ::= \"yes\" | \"no\"";
  const auto said = [&](const char* name, Json value) {
    return content_of(server().chat(question().set(name, std::move(value)).set("max_thinking_tokens", 4)));
  };
  const std::string want = said("grammar", gbnf);
  EXPECT_TRUE(want == "yes" || want == "no");
  Json choices = Json::array().push_back("yes").push_back("no");
  EXPECT_EQ(said("guided_grammar", gbnf), want);
  EXPECT_EQ(said("guided_choice", choices), want);
  EXPECT_EQ(said("structured_outputs", Json::object().set("choice", choices)), want);
  const std::string json = said("json_schema", parsed(kSchema));
  EXPECT_TRUE(fits(kSchema, json));
  EXPECT_EQ(said("guided_json", parsed(kSchema)), json);
  EXPECT_EQ(said("response_format", Json::object().set("type", "json_object").set("schema", parsed(kSchema))),
            json);
  EXPECT_EQ(said("structured_outputs", Json::object().set("json", parsed(kSchema))), json);
}

TEST(Structure, TheWholeAnswerMatchesARegularExpression) {
  const char* const patterns[] = {"[0-9]{1,3}( [a-c]+)?", "^(yes|no|perhaps)$",
                                  "-?\\d{1,4}(\\.\\d{2})? (km|mi)",
                                  "(?<year>20[0-9]{2})-(?P<month>0[1-9]|1[0-2])", "[ -~]{3,9}!"};
  for (const char* pattern : patterns) {
    for (int seed = 0; seed < 4; ++seed) {
      Json body =
          question("Make 24 from 12, 11 and 47.", seed).set("guided_regex", pattern).set("temperature", 2);
      const Json got = server().chat(body.set("max_tokens", 200).set("max_thinking_tokens", 20));
      EXPECT_EQ(choice_of(got).get_string("finish_reason"), "stop") << got.dump();
      std::string plain = pattern;  // std::regex knows no names of groups
      for (const char* name : {"?<year>", "?P<month>"}) {
        if (const size_t at = plain.find(name); at != std::string::npos) plain.erase(at, std::strlen(name));
      }
      EXPECT_TRUE(std::regex_match(content_of(got), std::regex(plain))) << pattern << ": " << content_of(got);
      EXPECT_EQ(joined(server().chat_stream(body), "content"), content_of(got));
    }
  }
  // The thought is free, and what limits cut says so.
  Json body = question().set("guided_regex", "[a-z]{60}").set("max_tokens", 70).set("stop", "e");
  const Json cut = server().chat(body.set("max_thinking_tokens", 4));
  EXPECT_EQ(choice_of(cut).get_string("finish_reason"), "length");
  EXPECT_TRUE(choice_of(cut).get_string("finish_detail").ends_with("_incomplete_text")) << cut.dump();
}

TEST(Structure, ARegularExpressionThatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {{"a(?=b)", "a look-ahead (?=..)"},
                                                       {"(?<!a)b", "a look-behind (?<!..)"},
                                                       {"(a)\\1", "the back-reference \\1"},
                                                       {"(?i)a", "flags (?..)"},
                                                       {"\\bword", "\\b"},
                                                       {"\\p{L}+", "\\p"},
                                                       {"a++", "a possessive repetition"},
                                                       {"a{,3}", "{,..}"},
                                                       {"(a|b)*a(a|b){40}", "needs more than"},
                                                       {"[^\\s\\S]", "matches no text"}};
  for (const auto& [pattern, want] : cases) {
    const HttpAnswer answer = server().post("/v1/chat/completions", question().set("guided_regex", pattern));
    EXPECT_EQ(answer.status, 400) << pattern;
    const Json error = answer.json().at("error");
    EXPECT_EQ(error.get_string_or("param", ""), "guided_regex");
    EXPECT_NE(error.get_string("message").find(want), std::string::npos) << answer.body;
  }
}

TEST(Structure, JsonObjectIsAnObject) {
  const Json got = server().chat(
      question().set("response_format", Json::object().set("type", "json_object")).set("max_tokens", 200));
  if (choice_of(got).get_string("finish_reason") == "stop") {
    EXPECT_TRUE(parsed(content_of(got)).is_object());
  } else {
    EXPECT_EQ(choice_of(got).get_string("finish_detail"), "length_incomplete_json");
  }
}

TEST(Structure, CompletionsFollowTheirFormToo) {
  for (const bool opened : {false, true}) {
    Json body = Json::object();
    body.set("prompt", opened ? "Make 24 from 12, 11 and 47.<think>" : "Give me JSON: ").set("seed", 5);
    body.set("max_tokens", 200).set("response_format", format_of(kSchema)).set("n", 2).set("logprobs", 1);
    const HttpAnswer answer = server().post("/v1/completions", body);
    ASSERT_EQ(answer.status, 200) << answer.body;
    const Json whole = answer.json();
    for (size_t i = 0; i < 2; ++i) {
      const Json& choice = choice_of(whole, i);
      std::string text = choice.get_string("text");
      if (opened) {
        const size_t close = text.find("</think>");
        if (close == std::string::npos) {
          EXPECT_EQ(choice.get_string("finish_detail"), "length_incomplete_json");
          continue;
        }
        text = text.substr(text.find_first_not_of('\n', close + 8));
      }
      check_choice(choice, text, kSchema);
    }
    const HttpAnswer streamed = server().post("/v1/completions", body.set("stream", true));
    for (int64_t i = 0; i < 2; ++i)
      EXPECT_EQ(joined(events_of(streamed.body), "text", i),
                choice_of(whole, static_cast<size_t>(i)).get_string("text"));
  }
}

TEST(Structure, LogprobsAreTheModelsOwn) {
  Json body =
      question().set("response_format", format_of(kSchema)).set("logprobs", true).set("top_logprobs", 2);
  const Json got = server().chat(body.set("return_token_ids", true));
  const auto& entries = choice_of(got).at("logprobs").at("content").items();
  EXPECT_EQ(entries.size(), choice_of(got).at("token_ids").size());
  bool unlikely = false;  // the form demanded a token that was not among the model's two likeliest
  for (const Json& entry : entries)
    unlikely = unlikely ||
               entry.get_number("logprob") < entry.at("top_logprobs").at(size_t{1}).get_number("logprob");
  EXPECT_TRUE(unlikely);
}

TEST(Structure, ACrowdOfFormsGetsTheAnswersOfEachAlone) {
  const auto body = [](int i) {
    Json out = question("Make " + std::to_string(10 + i) + " from 3, 5 and 7.", i);
    const std::string schema = R"({"type":"object","properties":{"k)" + std::to_string(i % 5) +
                               R"(":{"type":"integer","minimum":0,"maximum":)" + std::to_string(9 + i % 3) +
                               R"(}},"required":["k)" + std::to_string(i % 5) + R"("]})";
    return i % 4 == 3 ? out : out.set("response_format", format_of(schema));
  };
  std::vector<std::string> alone;
  for (int i = 0; i < 24; ++i) alone.push_back(server().chat(body(i)).at("choices").dump());
  TestServer many;
  std::vector<std::thread> clients;
  for (int i = 0; i < 24; ++i)
    clients.emplace_back(
        [&, i] { EXPECT_EQ(many.chat(body(i)).at("choices").dump(), alone[static_cast<size_t>(i)]); });
  for (std::thread& t : clients) t.join();
  const EngineLoop::State state = many.idle_state();
  EXPECT_EQ(state.engine.pages, state.engine.free_pages + state.engine.cached_pages);
}

TEST(Structure, HostileSchemasAreRefusedAndKeepNobodyWaiting) {
  std::string wide = R"({"anyOf":[)";
  for (int i = 0; i < 3000; ++i)
    wide += (i > 0 ? "," : "") + std::string(R"({"type":"string","pattern":"^(a|b)*a(a|b){)") +
            std::to_string(i % 13) + "}$\"}";
  wide += "]}";
  std::string deep;
  for (int i = 0; i < 60; ++i) deep += R"({"allOf":[)";
  deep += "true";
  for (int i = 0; i < 60; ++i) deep += "]}";
  std::string product = R"({"type":"object","allOf":[)";
  for (int i = 0; i < 16; ++i)
    product += (i > 0 ? "," : "") + std::string(R"({"anyOf":[{"required":["a)") + std::to_string(i) +
               R"("]},{"required":["b)" + std::to_string(i) + R"("]}]})";
  product += "]}";
  const std::string states = R"({"type":"string","pattern":"(a|b)*a(a|b){40}"})";
  const std::string counts =
      R"({"type":"array","minItems":100000000,"items":{"type":"array","minItems":100000000}})";
  const std::vector<std::string> hostile{wide, deep, product, states, counts};
  std::atomic<int> left = static_cast<int>(hostile.size());
  std::vector<std::thread> clients;
  for (const std::string& schema : hostile) {
    clients.emplace_back([&, schema] {
      const HttpAnswer answer = server().post(
          "/v1/chat/completions", question().set("response_format", format_of(schema)).set("max_tokens", 64));
      EXPECT_TRUE(answer.status == 400 || answer.status == 200) << answer.status;
      --left;
    });
  }
  // Others are answered meanwhile.
  int answers = 0;
  while (left > 0 || answers == 0) {
    server().chat(question().set("max_tokens", 2));
    ++answers;
  }
  for (std::thread& t : clients) t.join();
}

TEST(Structure, GoingOnWithAnAnswerThatHasAFormIsRefused) {
  Json body = question().set("response_format", format_of(kSchema)).set("continue_final_message", true);
  Json messages = body.at("messages");
  messages.push_back(Json::object().set("role", "assistant").set("content", "{\"answer\""));
  const HttpAnswer answer = server().post("/v1/chat/completions", body.set("messages", messages));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json().at("error").get_string("param"), "continue_final_message");
}

}  // namespace
}  // namespace r1::structure_test
