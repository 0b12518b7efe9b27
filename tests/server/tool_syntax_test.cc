// Reading calls of functions from the text that models write, and the grammar of that text.
#include "server/tool_syntax.h"

#include <gtest/gtest.h>

#include "engine/grammar/grammar.h"
#include "engine/grammar/rules.h"
#include "formats/json.h"
#include "server/answer_grammar.h"

namespace r1::tool_syntax_test {
namespace {

constexpr ToolStyle kStyles[] = {ToolStyle::deepseek_r1, ToolStyle::deepseek_v31, ToolStyle::hermes};

// The text and the calls that a reader finds in pieces of a text.
struct Read {
  std::string text, calls;  // "name(arguments)"
  int64_t complete = 0;
  bool operator==(const Read&) const = default;
};
Read read_in_pieces(const ToolSyntax& syntax, const std::string& text, size_t size) {
  ToolCallReader reader(syntax);
  ToolCallReader::Output out;
  for (size_t at = 0; at < text.size(); at += size) reader.feed(text.substr(at, size), out);
  reader.flush(out);
  Read read{.text = out.text, .calls = "", .complete = reader.complete_calls()};
  int64_t index = -1;
  for (const ToolCallPart& part : out.calls) {
    if (part.begins) {
      EXPECT_EQ(part.index, ++index);
      read.calls += part.name + ":";
    }
    EXPECT_EQ(part.index, index);
    read.calls += part.arguments;
  }
  return read;
}

const std::string kArguments = R"({"text": "a } \" { \\", "list": [{}, [1]]})";

std::string two_calls(const ToolSyntax& syntax) {
  return syntax.open + call_text(syntax, "first", kArguments) + syntax.between +
         call_text(syntax, "second", "{}") + syntax.close;
}

TEST(ToolSyntax, CallsAreReadHoweverTheTextIsCut) {
  for (const ToolStyle style : kStyles) {
    const ToolSyntax& syntax = tool_syntax(style);
    const std::string text = "Let me see.\n\n" + two_calls(syntax);
    const Read want{.text = "Let me see.", .calls = "first:" + kArguments + "second:{}", .complete = 2};
    for (size_t size = 1; size <= text.size(); ++size) {
      const Read got = read_in_pieces(syntax, text, size);
      EXPECT_EQ(got.text, want.text) << size;
      EXPECT_EQ(got.calls, want.calls) << size;
      EXPECT_EQ(got.complete, want.complete) << size;
    }
  }
}

TEST(ToolSyntax, TextWithoutCallsStaysAsItIs) {
  for (const ToolStyle style : kStyles) {
    const ToolSyntax& syntax = tool_syntax(style);
    for (const std::string& text :
         {std::string("plain\n"), std::string(" a < b "),
          "almost " + syntax.marker.substr(0, syntax.marker.size() - 1), std::string("x \n\n y")}) {
      for (size_t size = 1; size <= text.size(); ++size)
        EXPECT_EQ(read_in_pieces(syntax, text, size), (Read{.text = text, .calls = "", .complete = 0}))
            << text;
    }
  }
}

TEST(ToolSyntax, ACallThatIsCutIsNotComplete) {
  for (const ToolStyle style : kStyles) {
    const ToolSyntax& syntax = tool_syntax(style);
    const std::string text = "T" + syntax.open + call_text(syntax, "first", kArguments);
    for (size_t size = 1; size < text.size(); ++size) {
      const Read got = read_in_pieces(syntax, text.substr(0, size), 3);
      EXPECT_EQ(got.complete, 0) << size;
      EXPECT_TRUE(got.calls.empty() || ("first:" + kArguments).starts_with(got.calls)) << got.calls;
    }
  }
}

ToolRequest tools_of(const std::string& schema, ToolRequest::Choice choice, bool parallel = true) {
  ToolRequest tools{.choice = choice, .parallel = parallel};
  for (const char* name : {"first", "second"})
    tools.functions.push_back({.name = name, .parameters = parse_json(schema, "test"), .field = "tools"});
  return tools;
}

TEST(ToolSyntax, TheGrammarIsThatOfTheCallsAndTheirArguments) {
  const std::string schema = R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})";
  for (const ToolStyle style : kStyles) {
    const ToolSyntax& syntax = tool_syntax(style);
    using Choice = ToolRequest::Choice;
    const auto accepts = [&](const ToolRequest& tools, const AnswerStructure& form, const std::string& text) {
      GrammarState state(Grammar::from_rules(answer_rules(form, tools, syntax), "tools"));
      return state.accept(text) && state.is_complete();
    };
    const std::string call = call_text(syntax, "first", R"({"n":5})");
    const std::string one = syntax.open + call + syntax.close;
    const std::string two =
        syntax.open + call + syntax.between + call_text(syntax, "second", R"({"n": 6})") + syntax.close;
    const std::string wrong = syntax.open + call_text(syntax, "first", R"({"m":5})") + syntax.close;
    const std::string unknown = syntax.open + call_text(syntax, "third", R"({"n":5})") + syntax.close;
    const AnswerStructure free;
    const ToolRequest may = tools_of(schema, Choice::automatic), must = tools_of(schema, Choice::required);
    for (const std::string& text : {one, two}) {
      EXPECT_TRUE(accepts(must, free, text));
      EXPECT_TRUE(accepts(may, free, text));
      EXPECT_TRUE(accepts(may, free, "I call.\n" + text));
      EXPECT_FALSE(accepts(must, free, "I call.\n" + text));
      EXPECT_FALSE(accepts(may, free, text + "and more"));
    }
    for (const std::string& text : {wrong, unknown}) {
      EXPECT_FALSE(accepts(must, free, text));
      EXPECT_FALSE(accepts(may, free, text));
    }
    EXPECT_FALSE(accepts(must, free, ""));
    EXPECT_TRUE(accepts(may, free, "No call: <tool, \xe2\x96."));
    EXPECT_FALSE(accepts(tools_of(schema, Choice::required, false), free, two));
    EXPECT_TRUE(accepts(tools_of(schema, Choice::required, false), free, one));
    const AnswerStructure json{.kind = AnswerStructure::Kind::json_object};
    EXPECT_TRUE(accepts(may, json, R"({"a": 1})"));
    EXPECT_TRUE(accepts(may, json, one));
    EXPECT_FALSE(accepts(may, json, "text"));
  }
}

}  // namespace
}  // namespace r1::tool_syntax_test
