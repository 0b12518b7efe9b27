// The part of a conversation that the model is shown.
#include "cli/conversation.h"

#include <gtest/gtest.h>

#include "cli/chat_command.h"
#include "cli/printable.h"
#include "tests/cli/cli_test_util.h"

namespace r1::conversation_test {
namespace {

using test::make_model;

// A bundle whose template ends every turn in a way that is easy to read.
ModelBundle bundle_with(const std::string& name, const std::string& chat_template) {
  const auto model = make_model("conversation-" + name);
  Json config = read_json(model / "tokenizer_config.json");
  config.set("chat_template", chat_template);
  write_file_atomically(model / "tokenizer_config.json", config.dump(2));
  return ModelBundle::load(model);
}

std::string shown(const ModelBundle& bundle, const std::string& response, const std::string& opening) {
  Conversation conversation(bundle, std::nullopt);
  conversation.add("one", response, opening);
  return bundle.tokenizer.decode(conversation.prompt("two", 16).tokens);
}

constexpr const char* kOpens = "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}<think>";

TEST(Conversation, ATemplateThatCutsThoughtsGetsTheWholeText) {
  const ModelBundle bundle = bundle_with(
      "cuts", "{% for m in messages %}[{{ m.role }} {{ m.content.split('</think>')[-1] }}]{% endfor %}>");
  // The template's own blanks are kept, because it received the text after </think> as the model wrote it.
  EXPECT_EQ(shown(bundle, "<think>\nhm\n</think>\n\nyes", ""), "[user one][assistant \n\nyes][user two]>");
  EXPECT_EQ(shown(bundle, "hm\n</think>\n\nyes", "<think>\n"), "[user one][assistant \n\nyes][user two]>");
}

TEST(Conversation, ATemplateThatReadsReasoningContentGetsIt) {
  const ModelBundle bundle = bundle_with("reads",
                                         "{% for m in messages %}[{{ m.role }} {% if m.reasoning_content "
                                         "%}({{ m.reasoning_content }}){% endif %}"
                                         "{{ m.content }}]{% endfor %}>");
  EXPECT_EQ(shown(bundle, "<think>\nhm\n</think>\n\nyes", ""), "[user one][assistant (hm)yes][user two]>");
}

TEST(Conversation, AnyOtherTemplateGetsTheAnswerAlone) {
  const ModelBundle bundle = bundle_with("knows-nothing", kOpens);
  EXPECT_EQ(shown(bundle, "<think>\nhm\n</think>\n\nyes", ""), "[user one][assistant yes][user two]<think>");
  EXPECT_EQ(shown(bundle, "hm</think>yes", "<think>\n"), "[user one][assistant yes][user two]<think>");
  EXPECT_EQ(shown(bundle, "yes", ""), "[user one][assistant yes][user two]<think>")
      << "no thought, no change";
}

TEST(Conversation, AThoughtThatWasCutIsNoAnswer) {
  const ModelBundle bundle = bundle_with("cut", kOpens);
  EXPECT_EQ(shown(bundle, "<think>\nhm, let me", ""), "[user one][assistant ][user two]<think>");
  EXPECT_EQ(shown(bundle, "hm, let me", "<think>\n"), "[user one][assistant ][user two]<think>");
}

TEST(Conversation, MessagesHoldWholeThoughts) {
  const ModelBundle bundle = bundle_with("whole", kOpens);
  Conversation conversation(bundle, std::nullopt);
  const ConversationPrompt prompt = conversation.prompt("one", 16);
  EXPECT_EQ(prompt.opening, "<think>");
  conversation.add("one", "hm\n</think>\n\nyes", prompt.opening);
  EXPECT_EQ(conversation.messages().at(1).get_string("content"), "<think>hm\n</think>\n\nyes")
      << "the tag that the prompt had is put back";
}

TEST(Conversation, TheOldestTurnsGoFirst) {
  const ModelBundle bundle = bundle_with("oldest", "{% for m in messages %}{{ m.content }},{% endfor %}");
  Conversation conversation(bundle, std::nullopt);
  conversation.set_system("S");
  for (const char* question : {"a", "b", "c"}) conversation.add(question, "x", "");
  const auto text = [&](int64_t room) {
    const ConversationPrompt prompt = conversation.prompt("q", room);
    return fmt::format("{} {}", bundle.tokenizer.decode(prompt.tokens), prompt.left_out);
  };
  const int64_t context = bundle.model.config().max_positions;
  const auto tokens = [&](const char* t) {
    return static_cast<int64_t>(bundle.tokenizer.encode(t, false).size());
  };
  EXPECT_EQ(text(16), "S,a,x,b,x,c,x,q, 0");
  EXPECT_EQ(text(context - tokens("S,a,x,b,x,c,x,q,")), "S,a,x,b,x,c,x,q, 0");
  EXPECT_EQ(text(context - tokens("S,a,x,b,x,c,x,q,") + 1), "S,b,x,c,x,q, 1");
  EXPECT_EQ(text(context - 1), "S,q, 3") << "the system prompt and the question stay";
  Conversation alone(bundle, 1);
  for (const char* question : {"a", "b"}) alone.add(question, "x", "");
  EXPECT_EQ(bundle.tokenizer.decode(alone.prompt("q", 16).tokens), "b,x,q,");
  EXPECT_EQ(alone.prompt("q", 16).left_out, 0) << "asked for, not for lack of room";
}

// They key the next answer's random numbers.
TEST(Conversation, APromptCountsTheTokensOfTheAnswersThatItShows) {
  const ModelBundle bundle = bundle_with("drawn", "{% for m in messages %}{{ m.content }},{% endfor %}");
  Conversation conversation(bundle, std::nullopt);
  EXPECT_EQ(conversation.prompt("q", 16).drawn, 0);
  conversation.add("a", "", "");
  conversation.replace_last_response("x", 70);
  conversation.add("b", "x", "", 5);
  EXPECT_EQ(conversation.prompt("q", 16).drawn, 75);
  const int64_t context = bundle.model.config().max_positions;
  const auto room = context - static_cast<int64_t>(bundle.tokenizer.encode("b,x,q,", false).size());
  EXPECT_EQ(conversation.prompt("q", room).drawn, 5) << "the first turn did not fit";
  EXPECT_EQ(conversation.prompt("q", context - 1).drawn, 0);
  Conversation alone(bundle, 0);
  alone.add("a", "x", "", 70);
  EXPECT_EQ(alone.prompt("q", 16).drawn, 0) << "every question stands alone, and a seed repeats its answer";
}

TEST(ChatCommand, OnlyKnownWordsAreCommands) {
  using Kind = ChatCommand::Kind;
  EXPECT_EQ(read_chat_command("make 24").kind, Kind::question);
  EXPECT_EQ(read_chat_command("/usr/bin is a folder").kind, Kind::question);
  EXPECT_EQ(read_chat_command("/ 2").kind, Kind::question);
  EXPECT_EQ(read_chat_command(" /help").kind, Kind::question);
  EXPECT_EQ(read_chat_command("/system  be brief ").argument, "be brief");
  EXPECT_EQ(read_chat_command("/exit ").kind, Kind::exit);
  EXPECT_THROW(read_chat_command("/quux"), Error);
  EXPECT_THROW(read_chat_command("/exit now"), Error);
  for (const char* name : {"/help", "/more", "/clear", "/system", "/seed", "/save", "/exit"})
    EXPECT_NE(chat_help().find(name), std::string::npos) << name;
}

TEST(Printable, NoControlCharacterGetsThrough) {
  EXPECT_EQ(printable("a\tb\nc"), "a\tb\nc");
  EXPECT_EQ(printable("\x1b[2J\x07\r\x7f"), "\u241b[2J\u2407\u240d\u2421");
  EXPECT_EQ(printable("\u009b31m \u0085"), "\ufffd31m \ufffd") << "C1 controls, which some terminals obey";
  EXPECT_EQ(printable("\u00e9\u4f60\U0001F600"), "\u00e9\u4f60\U0001F600");
  EXPECT_EQ(printable("\xff\xc3"), "\ufffd\ufffd");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\u2400");
}

}  // namespace
}  // namespace r1::conversation_test
