// The chat templates of a directory, and messages in the forms that the templates read.
#include "text/chat_templates.h"

#include <fstream>

#include "base/error.h"
#include "tests/text/text_test.h"

namespace r1::chat_templates_test {
namespace {

Json rows(const std::string& text) {
  return parse_json(text, "row");
}

const Json kUser = rows(R"([{"role": "user", "content": "hi"}])");
const Json kTools = rows(R"([{"type": "function", "function": {"name": "add"}}])");

class ChatDirectory : public testing::Test {
 protected:
  ChatDirectory() { std::filesystem::create_directories(path / "additional_chat_templates"); }
  ~ChatDirectory() override { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
  std::string render(bool tools = false) const {
    return ChatTemplates::load(path).render({.messages = kUser, .tools = tools ? kTools : Json()});
  }
  std::string failure(bool tools = false) const {
    try {
      return "no error: " + render(tools);
    } catch (const Error& error) {
      return error.what();
    }
  }

  std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) /
      (std::string("r1_chat_") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(ChatDirectory, AStringIsTheTemplate) {
  EXPECT_TRUE(ChatTemplates::load(path).empty());
  EXPECT_EQ(failure(), "the model has no chat template");
  write("tokenizer_config.json", R"({"chat_template": "S {{ messages[0].content }}"})");
  EXPECT_EQ(render(), "S hi");
  EXPECT_EQ(render(true), "S hi");
}

TEST_F(ChatDirectory, ToolsChooseToolUse) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "D"},
      {"name": "tool_use", "template": "T {{ tools[0].function.name }}"}, {"name": "rag", "template": "R"}]})");
  EXPECT_EQ(render(), "D");
  EXPECT_EQ(render(true), "T add");
}

TEST_F(ChatDirectory, ATemplateAloneIsTheTemplate) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "T"}]})");
  EXPECT_EQ(render(), "T");
}

TEST_F(ChatDirectory, SeveralWithoutADefaultAreNamed) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]})");
  EXPECT_EQ(render(true), "T");
  EXPECT_EQ(failure(), "the model has several chat templates (tool_use, rag), but none is named default");
}

TEST_F(ChatDirectory, FilesComeBeforeTheConfig) {
  write("chat_template.json", R"({"chat_template": "old"})");
  EXPECT_EQ(render(), "old");
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(render(), "config");
  write("additional_chat_templates/tool_use.jinja", "more");
  EXPECT_EQ(render(), "config");
  EXPECT_EQ(render(true), "more");
  write("chat_template.jinja", "file");
  EXPECT_EQ(render(), "file");
  EXPECT_EQ(ChatTemplates::files(path),
            (std::vector<std::string>{"chat_template.jinja", "additional_chat_templates/tool_use.jinja",
                                      "chat_template.json"}));
}

TEST_F(ChatDirectory, ABadTemplateNamesItsFileAndLine) {
  write("additional_chat_templates/tool_use.jinja", "a\n{% if %}");
  EXPECT_EQ(failure(), (path / "additional_chat_templates/tool_use.jinja").string() +
                           ", line 2: an expression is expected, not %}");
  write("additional_chat_templates/tool_use.jinja", "a");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_NE(failure().find("chat_template[0].template is missing"), std::string::npos) << failure();
}

TEST_F(ChatDirectory, SpecialTokensAreVariables) {
  write("tokenizer_config.json",
        R"({"bos_token": "<s>", "pad_token": {"content": "<pad>"}, "unk_token": "<unk>",
      "chat_template": "{{ bos_token }}{{ pad_token }}{{ unk_token }}{{ eos_token is defined }}"})");
  EXPECT_EQ(render(), "<s><pad><unk>False");
  EXPECT_EQ(ChatTemplates::load(path).render(
                {.messages = kUser, .bos_token = "<b>", .kwargs = rows(R"({"pad_token": "<p>"})")}),
            "<b><p><unk>False");
}

TEST(ChatInput, ReadsARow) {
  const ChatInput input =
      chat_input(rows(R"({"messages": [{"role": "user", "content": "hi"}], "tools": "[{\"a\": 1}]",
      "documents": [{"text": "t"}], "add_generation_prompt": false, "chat_template_kwargs": {"enable_thinking": false},
      "else": 1})"));
  EXPECT_EQ(input.tools, rows(R"([{"a": 1}])"));
  EXPECT_EQ(input.documents, rows(R"([{"text": "t"}])"));
  EXPECT_FALSE(input.add_generation_prompt);
  EXPECT_EQ(input.kwargs, rows(R"({"enable_thinking": false})"));
  const std::pair<const char*, const char*> bad[] = {
      {R"({"messages": "hi"})", "messages is a string"},
      {R"({"messages": []})", "messages is empty"},
      {R"({"messages": ["hi"]})", "messages[0] is not a message"},
      {R"({"messages": [{}], "tools": {}})", "tools is an object"},
      {R"({"messages": [{}], "tools": ["add"]})", "tools[0] is not a tool"},
      {R"({"messages": [{}], "tools": "add"})", "tools"},
      {R"({"messages": [{}], "chat_template_kwargs": 1})", "chat_template_kwargs is an integer"},
      {R"({"messages": [{}], "chat_template_kwargs": {"messages": []}})", "chat_template_kwargs.messages"},
      {R"({"messages": [{}], "tools": [], "chat_template_kwargs": {"tools": []}})", "give it once"},
      {R"({"messages": [{}], "add_generation_prompt": "yes"})", "add_generation_prompt is a string"},
  };
  for (const auto& [row, reason] : bad) {
    try {
      chat_input(rows(row));
      ADD_FAILURE() << "accepted " << row;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }
}

const Json kParts = rows(R"([{"role": "user", "content": [{"type": "text", "text": "one"},
    {"type": "text", "text": "two"}]}])");

TEST(ChatForm, PartsStayPartsForATemplateThatReadsThem) {
  const ChatTemplates lists = ChatTemplates::of(
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
      "<{{ p.text }}>{% endfor %}{% endif %}{% endfor %}",
      "t");
  EXPECT_EQ(lists.render({.messages = kParts}), "<one><two>");
}

TEST(ChatForm, PartsAreJoinedForATemplateThatReadsText) {
  for (const char* text : {"{% for m in messages %}{{ 'x' + m.content }}{% endfor %}",
                           "{% for m in messages %}x{{ m['content'] }}{% endfor %}",
                           "{% for m in messages %}x{{ m.content | trim }}{% endfor %}"}) {
    EXPECT_EQ(ChatTemplates::of(text, "t").render({.messages = kParts}), "xone\ntwo");
  }
  try {
    ChatTemplates::of("{{ 'x' + messages[0].content }}", "t")
        .render(chat_input(rows(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})")));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(
        std::string(error.what()).find("messages[0].content[0] is a part of type image_url without text"),
        std::string::npos)
        << error.what();
  }
}

TEST(ChatForm, PartsAreReadRoleByRole) {
  const ChatTemplates users_only = ChatTemplates::of(
      "{% for m in messages %}{% if m.role == 'user' %}{% for p in m.content %}{{ p.text }};{% endfor %}{% "
      "else %}"
      "{{ '[' + m.content + ']' }}{% endif %}{% endfor %}",
      "t");
  Json both = kParts;
  both.push_back(Json(kParts.at(size_t{0})).set("role", "system"));
  EXPECT_EQ(users_only.render({.messages = both}), "one;two;[one\ntwo]");
  // Such a template would lose a text, so it receives a list.
  EXPECT_EQ(users_only.render_adapted({.messages = kUser}), "hi;");
}

Json calling(const std::string& content, const std::string& arguments) {
  return rows(R"([{"role": "user", "content": "q"}, {"role": "assistant", )" + content +
              R"("tool_calls": [{"type": "function", "function": {"name": "add", "arguments": )" + arguments +
              "}}]}]");
}

TEST(ChatForm, ToolCallsGetTheFormThatTheTemplateReads) {
  const std::string head = "{% for m in messages %}{% for c in m.tool_calls or [] %}";
  const std::string tail = "{% endfor %}{% endfor %}";
  const std::string object = R"({"a": 1})";
  const std::string text = R"("{\"a\": 1}")";
  const ChatTemplates dumps =
      ChatTemplates::of(head + "{{ c.function.name }} {{ c.function.arguments | tojson }}" + tail, "t");
  const ChatTemplates concatenates =
      ChatTemplates::of(head + "{{ c.function.name + ' ' + c.function.arguments }}" + tail, "t");
  const ChatTemplates iterates = ChatTemplates::of(
      head +
          "{{ c.function.name }} {% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}" +
          tail,
      "t");
  for (const std::string& arguments : {object, text}) {
    EXPECT_EQ(dumps.render_adapted({.messages = calling("", arguments)}), R"(add {"a": 1})");
    EXPECT_EQ(concatenates.render_adapted({.messages = calling("", arguments)}), R"(add {"a": 1})");
    EXPECT_EQ(iterates.render_adapted({.messages = calling("", arguments)}), "add a=1");
  }
  // The arguments are passed unchanged, and Jinja decides the result.
  EXPECT_EQ(dumps.render({.messages = calling("", text)}), R"(add "{\"a\": 1}")");
}

TEST(ChatForm, NoContentIsWhatTheTemplateTakesForIt) {
  // R1's template writes calls only if the content is null. Others append to the content, so it must be a
  // string.
  const ChatTemplates wants_null = ChatTemplates::of(
      "{% for m in messages %}{% if m.content is none %}{{ m.tool_calls[0].function.name }}"
      "{{ m.tool_calls[0].function.arguments }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
      "t");
  const ChatTemplates wants_text = ChatTemplates::of(
      "{% for m in messages %}{{ m.content + '' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
      "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
      "t");
  for (const char* content : {"", "\"content\": \"\", ", "\"content\": null, "}) {
    EXPECT_EQ(wants_null.render_adapted({.messages = calling(content, R"("{}")")}), "qadd{}") << content;
    EXPECT_EQ(wants_text.render_adapted({.messages = calling(content, "{}")}), "qadd{}") << content;
  }
}

TEST(ChatForm, AThoughtIsFoundUnderEveryName) {
  for (const char* name : {"reasoning_content", "reasoning", "thinking"}) {
    const Json message =
        rows(R"([{"role": "assistant", "content": "c", ")" + std::string(name) + R"(": "r"}])");
    EXPECT_EQ(ChatTemplates::of("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}", "t")
                  .render_adapted({.messages = message}),
              "rr");
  }
}

TEST(ChatForm, NumbersPassAsWritten) {
  const ChatTemplates dumps = ChatTemplates::of("{{ messages[0].n | tojson }} {{ messages[0].n }}", "t");
  EXPECT_EQ(
      dumps.render(
          {.messages =
               rows(R"([{"n": [1.0, 1e3, 12345678901234567890, -0.0, 1E-7, 10000000000000000000000, 1]}])")}),
      "[1.0, 1000.0, 12345678901234567890, -0.0, 1e-07, 10000000000000000000000, 1] "
      "[1.0, 1000.0, 12345678901234567890, -0.0, 1e-07, 10000000000000000000000, 1]");
}

}  // namespace
}  // namespace r1::chat_templates_test
