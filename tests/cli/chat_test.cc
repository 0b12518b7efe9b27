// The conversation on a terminal of its own.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/cli/terminal_util.h"

namespace r1::chat_test {
namespace {

using test::make_model;
using test::make_scripted_model;
using test::scratch;
using test::Terminal;

void say_in_config(const std::filesystem::path& model, const std::string& own) {
  write_file_atomically(model / "generation_config.json", "{\"do_sample\": true, \"r1\": " + own + "}");
}

std::string remembering_model() {
  static const std::string path = make_model("chat-remembers").string();
  return path;
}

// Greedy and short, because the answers of a random model repeat.
std::vector<std::string> greedy(const std::string& model, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words{"run", model, "--temperature", "0", "--max-tokens", "9", "--ignore-eos"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Returns what `generate` answers to these messages with greedy sampling.
std::string generated(const std::string& model, const Json& messages) {
  const auto result = test::r1_run({"generate", model, "--input", "-", "--output", "-", "--temperature", "0",
                                    "--max-tokens", "9", "--ignore-eos"},
                                   Json::object().set("messages", messages).dump() + "\n");
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "generated").get_string("text");
}

Json first(const Json& messages, size_t count) {
  Json out = Json::array();
  for (size_t i = 0; i < count; ++i) out.push_back(messages.at(i));
  return out;
}

Json saved(Terminal& terminal, const std::string& name) {
  const std::filesystem::path file = scratch() / name;
  std::filesystem::remove(file);
  const std::string shown = terminal.ask("/save " + file.string());
  EXPECT_NE(shown.find("saved"), std::string::npos) << shown;
  return parse_json(read_file(file), "saved").at("messages");
}

TEST(CliChat, GreetsWithWhatItKnowsAndSaysSoWhenAskedForSomethingElse) {
  const auto model = make_model("chat-model");
  write_file_atomically(model / "README.md",
                        "---\nlicense: mit\n---\n# Title\n\nA tiny model that\nplays countdown.\n\nMore.\n");
  say_in_config(model, R"({"single_turn": true, "task": "countdown"})");
  Terminal terminal({"run", model.string(), "--max-tokens", "12", "--seed", "1"});
  const std::string greeting = terminal.answer();
  EXPECT_NE(greeting.find("A tiny model that plays countdown.\r\n"), std::string::npos) << greeting;
  EXPECT_EQ(greeting.find("More"), std::string::npos) << greeting;
  EXPECT_NE(greeting.find("Three problems to try"), std::string::npos) << greeting;
  EXPECT_NE(greeting.find("Every question stands alone"), std::string::npos) << greeting;
  const std::string answer = terminal.ask("Use 3, 5 and 7 to make 24.");
  EXPECT_EQ(answer.find("knows only"), std::string::npos) << answer;
  const std::string other = terminal.ask("What is the capital of France?");
  EXPECT_NE(other.find("this model knows only the countdown game"), std::string::npos) << other;
  EXPECT_EQ(other.find("checked"), std::string::npos) << other;
}

TEST(CliChat, ChecksTheAnswerToACountdownQuestion) {
  const auto model = make_scripted_model("chat-checked", "<think>3*(1+7)</think><answer>24</answer>");
  Terminal terminal({"run", model.string()});
  EXPECT_EQ(terminal.answer().find("countdown"), std::string::npos) << "it does not say what it knows";
  const std::string answer = terminal.ask("Use 3, 1 and 7 to make 24.");
  EXPECT_NE(answer.find("checked: not right ("), std::string::npos) << answer;
  EXPECT_EQ(terminal.ask("hello").find("checked"), std::string::npos);
}

TEST(CliChat, AnEmptyLineEndsNothingAndExitDoes) {
  Terminal terminal(greedy(remembering_model()));
  terminal.answer();
  terminal.ask("");
  terminal.ask("   ");
  EXPECT_NE(terminal.ask("/help").find("/clear"), std::string::npos);
  terminal.type("/exit\n");
  EXPECT_EQ(terminal.wait(), 0);
  Terminal other(greedy(remembering_model()));
  other.answer();
  other.wait_for_editor();
  other.type("\x04");
  EXPECT_EQ(other.wait(), 0);
  // A Ctrl-D during an answer reaches the terminal and not the editor, but it ends the conversation too.
  Terminal ahead(greedy(remembering_model()));
  ahead.answer();
  ahead.type("make 24\n");
  ahead.read_until("\x1b[?2004l");
  ahead.type("\x04");
  EXPECT_EQ(ahead.wait(), 0);
}

TEST(CliChat, RemembersTurnsUntilClear) {
  const std::string model = remembering_model();
  Terminal terminal(greedy(model));
  terminal.answer();
  terminal.ask("make 24");
  terminal.ask("make 6");
  const Json messages = saved(terminal, "remembered.jsonl");
  ASSERT_EQ(messages.size(), 4u) << messages.dump();
  EXPECT_EQ(messages.at(size_t{0}).dump(), R"({"role":"user","content":"make 24"})");
  EXPECT_EQ(messages.at(1).get_string("content"), generated(model, first(messages, 1)));
  EXPECT_EQ(messages.at(3).get_string("content"), generated(model, first(messages, 3)));
  EXPECT_NE(messages.at(3).get_string("content"), generated(model, Json::array().push_back(messages.at(2))))
      << "the test needs answers that depend on what was said before";
  terminal.ask("/clear");
  terminal.ask("make 6");
  const Json afresh = saved(terminal, "afresh.jsonl");
  ASSERT_EQ(afresh.size(), 2u) << afresh.dump();
  EXPECT_EQ(afresh.at(1).get_string("content"), generated(model, first(afresh, 1)));
}

TEST(CliChat, TurnsBoundWhatIsRemembered) {
  const std::string model = remembering_model();
  Terminal terminal(greedy(model, {"--turns", "0"}));
  EXPECT_NE(terminal.answer().find("Every question stands alone"), std::string::npos);
  terminal.ask("make 24");
  terminal.ask("make 6");
  const Json messages = saved(terminal, "alone.jsonl");
  EXPECT_EQ(messages.at(3).get_string("content"), generated(model, Json::array().push_back(messages.at(2))));
}

TEST(CliChat, SaysWhenTheOldestTurnsNoLongerFit) {
  const std::string model = remembering_model();  // its context has 256 tokens
  Terminal terminal(greedy(model));
  terminal.answer();
  std::string shown;
  int turns = 0;
  while (turns < 40 && shown.find("outgrown") == std::string::npos) {
    shown = terminal.ask("make 24 from the numbers 1 2 3 4 5 6 7 8 9 10 11 12");
    ++turns;
  }
  EXPECT_NE(shown.find("outgrown the model's context of 256 tokens: its first 1 turn is no longer shown"),
            std::string::npos)
      << shown;
  EXPECT_GT(turns, 2);
  const Json messages = saved(terminal, "outgrown.jsonl");
  EXPECT_EQ(messages.size(), static_cast<size_t>(2 * turns)) << "what is not shown to the model is saved";
  Json shown_to_it = Json::array();
  for (size_t i = 2; i + 1 < messages.size(); ++i) shown_to_it.push_back(messages.at(i));
  EXPECT_EQ(messages.at(messages.size() - 1).get_string("content"), generated(model, shown_to_it));
  EXPECT_EQ(terminal.ask("/clear").find("r1:"), std::string::npos);
  EXPECT_EQ(terminal.ask("make 6").find("outgrown"), std::string::npos);
}

TEST(CliChat, SystemPromptReachesTheModelOrIsRefused) {
  const std::string model = remembering_model();  // its template shows any message
  Terminal terminal(greedy(model, {"--system", "use all"}));
  terminal.answer();
  terminal.ask("make 24");
  EXPECT_NE(terminal.ask("/system").find("use all"), std::string::npos);
  const Json messages = saved(terminal, "system.jsonl");
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages.at(size_t{0}).dump(), R"({"role":"system","content":"use all"})");
  EXPECT_EQ(messages.at(2).get_string("content"), generated(model, first(messages, 2)));
  terminal.ask("/system \"\"");
  EXPECT_NE(terminal.ask("/system").find("there is no system prompt"), std::string::npos);

  const auto without = make_scripted_model("chat-no-system", "ok",
                                           "{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ "
                                           "m.content }}{% endif %}{% endfor %}<|Assistant|>");
  EXPECT_ONE_LINE_ERROR(test::r1_run({"run", without.string(), "-p", "hi", "--system", "x"}),
                        "leaves out a system prompt");
  Terminal other({"run", without.string()});
  other.answer();
  EXPECT_NE(other.ask("/system be brief").find("leaves out a system prompt"), std::string::npos);
  EXPECT_NE(other.ask("hi").find("ok"), std::string::npos) << "the conversation goes on";
}

TEST(CliChat, SeedRepeatsAnAnswer) {
  const std::string model = remembering_model();
  Terminal terminal(
      {"run", model, "--max-tokens", "12", "--ignore-eos", "--seed", "7", "--turns", "0", "--verbose"});
  terminal.answer();
  const std::string shown = terminal.ask("make 24");
  EXPECT_NE(shown.find("seed 7"), std::string::npos) << shown;
  EXPECT_NE(terminal.ask("make 24").find("seed 8"), std::string::npos) << "each answer has a seed of its own";
  EXPECT_NE(terminal.ask("/seed 7").find("seed 7"), std::string::npos);
  terminal.ask("make 24");
  EXPECT_NE(terminal.ask("/seed").find("the last answer has seed 7; the next has seed 8"), std::string::npos);
  EXPECT_NE(terminal.ask("/seed many").find("a seed is an integer"), std::string::npos);
  const Json messages = saved(terminal, "seeds.jsonl");
  ASSERT_EQ(messages.size(), 6u);
  EXPECT_EQ(messages.at(5).dump(), messages.at(1).dump());
  EXPECT_NE(messages.at(3).dump(), messages.at(1).dump());
  const auto once = test::r1_run(
      {"run", model, "-p", "make 24", "--max-tokens", "12", "--ignore-eos", "--seed", "7", "--json"});
  EXPECT_EQ(parse_json(once.out, "once").get_string("text"), messages.at(1).get_string("content"));
}

TEST(CliChat, SaveReplacesNoFileUnasked) {
  const std::string file = test::write("precious.jsonl", "precious\n");
  Terminal terminal(greedy(remembering_model()));
  terminal.answer();
  EXPECT_NE(terminal.ask("/save " + file).find("nothing to save"), std::string::npos);
  terminal.ask("make 24");
  EXPECT_NE(terminal.ask("/save " + file).find("exists already"), std::string::npos);
  EXPECT_EQ(read_file(file), "precious\n");
  EXPECT_NE(terminal.ask("/save").find("needs the name of a file"), std::string::npos);
  EXPECT_NE(terminal.ask("/save -f " + file).find("saved"), std::string::npos);
  EXPECT_EQ(parse_json(read_file(file), "saved").at("messages").size(), 2u);
}

TEST(CliChat, UnknownCommandNamesTheNearest) {
  Terminal terminal(greedy(remembering_model()));
  terminal.answer();
  EXPECT_NE(terminal.ask("/exot").find("did you mean /exit?"), std::string::npos);
  EXPECT_NE(terminal.ask("/clear all").find("takes nothing"), std::string::npos);
  EXPECT_EQ(terminal.ask("/etc/passwd is a file").find("r1:"), std::string::npos) << "no command";
  EXPECT_EQ(saved(terminal, "slash.jsonl").at(size_t{0}).get_string("content"), "/etc/passwd is a file");
}

TEST(CliChat, MoreGoesOnWithACutAnswer) {
  const auto model = make_scripted_model("chat-cut", "abcdefgh");
  Terminal terminal({"run", model.string(), "--max-tokens", "3"});
  terminal.answer();
  EXPECT_NE(terminal.ask("/more").find("nothing to go on with"), std::string::npos);
  const std::string cut = terminal.ask("hello");
  EXPECT_NE(cut.find("abc\r\n"), std::string::npos) << cut;
  EXPECT_NE(cut.find("the answer was cut after 3 tokens: /more goes on with it"), std::string::npos) << cut;
  EXPECT_NE(terminal.ask("/more").find("def\r\n"), std::string::npos);
  const std::string last = terminal.ask("/more");
  EXPECT_NE(last.find("gh\r\n"), std::string::npos) << last;
  EXPECT_EQ(last.find("cut"), std::string::npos) << last;
  EXPECT_NE(terminal.ask("/more").find("nothing to go on with"), std::string::npos);
  EXPECT_EQ(saved(terminal, "cut.jsonl").at(1).get_string("content"), "abcdefgh");
}

TEST(CliChat, SaysWhenTheContextIsFull) {
  Terminal terminal({"run", remembering_model(), "--ignore-eos"});
  terminal.answer();
  const std::string shown = terminal.ask("make 24");
  EXPECT_NE(shown.find("the model's context of 256 tokens is full; /clear starts afresh"), std::string::npos)
      << shown;
}

TEST(CliChat, AMessageMayHaveSeveralLines) {
  Terminal terminal(greedy(remembering_model()));
  terminal.answer();
  terminal.type("make \\\n");
  terminal.read_until(test::kFurtherPrompt);
  terminal.ask("24");
  terminal.type("\"\"\"\n");
  terminal.read_until(test::kFurtherPrompt);
  terminal.type("/help\n");
  terminal.read_until(test::kFurtherPrompt);
  terminal.ask("make 6\"\"\"");
  // A pasted text waits for Enter, whatever newlines it contains.
  terminal.wait_for_editor();
  terminal.type("\x1b[200~first\rsecond\r\x1b[201~third");
  terminal.ask("");
  const Json messages = saved(terminal, "lines.jsonl");
  ASSERT_EQ(messages.size(), 6u) << messages.dump();
  EXPECT_EQ(messages.at(size_t{0}).get_string("content"), "make \n24");
  EXPECT_EQ(messages.at(2).get_string("content"), "/help\nmake 6");
  EXPECT_EQ(messages.at(4).get_string("content"), "first\nsecond\nthird");
}

TEST(CliChat, EditsUtf8WhateverTheLocale) {
  for (const char* locale : {"C", "C.UTF-8"}) {
    Terminal terminal(greedy(remembering_model()), {{"LC_ALL", locale}});
    terminal.answer();
    terminal.wait_for_editor();
    terminal.ask(
        "hl\u00e9\u4f60o\x1b[D\x1b[D\x7f\u00fc");  // moves two to the left, then replaces the character before
    EXPECT_EQ(saved(terminal, "utf8.jsonl").at(size_t{0}).get_string("content"), "hl\u00fc\u4f60o") << locale;
  }
}

TEST(CliChat, KeepsTypedLinesForTheNextConversation) {
  const std::filesystem::path state = scratch() / "history-state";
  const std::map<std::string, std::string> environment{{"XDG_STATE_HOME", state.string()}};
  const std::filesystem::path file = state / "r1/history";
  {
    Terminal terminal(greedy(remembering_model(), {"--no-history"}), environment);
    terminal.answer();
    terminal.ask("secret");
    terminal.type("/exit\n");
    EXPECT_EQ(terminal.wait(), 0);
    EXPECT_FALSE(std::filesystem::exists(file));
  }
  {
    Terminal terminal(greedy(remembering_model()), environment);
    terminal.answer();
    terminal.ask("make 24");
    struct stat info {};
    ASSERT_EQ(::stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(read_file(file), "\"make 24\"\n");
  }
  Terminal terminal(greedy(remembering_model()), environment);
  terminal.answer();
  terminal.wait_for_editor();
  terminal.type("\x1b[A");  // up
  terminal.ask("5");
  EXPECT_EQ(saved(terminal, "recalled.jsonl").at(size_t{0}).get_string("content"), "make 245");
}

TEST(CliChat, CtrlCStopsTheAnswerNotTheProgram) {
  const auto model = make_model("chat-long");
  Json config = read_json(model / "config.json");
  config.set("max_position_embeddings", 100000);
  write_file_atomically(model / "config.json", config.dump(2));
  Terminal terminal({"run", model.string(), "--ignore-eos", "--max-tokens", "90000", "--seed", "1"});
  terminal.answer();
  terminal.type("Use 3, 5 and 7 to make 24.\n");
  terminal.read_until("make 24.\r\n");
  terminal.read_until("\x1b[?2004l");  // the line has been read and the answer begins
  terminal.type("\x03");
  const std::string stopped = terminal.answer();
  EXPECT_NE(stopped.find("stopped; /more goes on"), std::string::npos) << stopped.substr(0, 2000);
  for (int i = 0; i < 20; ++i) {  // the prompt shows a hint, even at the moment when it appears
    terminal.type("\x03");
    terminal.read_until("(Ctrl-D or /exit ends)");
    terminal.answer();
  }
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait(), 0);
}

TEST(CliChat, TerminationLeavesTheTerminalAsItWas) {
  for (const int signal : {SIGTERM, SIGHUP}) {
    Terminal terminal(greedy(remembering_model()));
    terminal.answer();
    terminal.wait_for_editor();
    terminal.type("half a line");
    terminal.read_until("line");
    terminal.send(signal);
    EXPECT_NE(terminal.rest().find("\x1b[?2004l"), std::string::npos) << "pastes are no longer bracketed";
    EXPECT_TRUE(terminal.is_plain());
    EXPECT_EQ(terminal.wait(), 128 + signal);
  }
}

TEST(CliChat, CtrlZLeavesTheTerminalAsItWasAndComesBack) {
  Terminal terminal(greedy(remembering_model()));
  terminal.answer();
  terminal.wait_for_editor();
  terminal.type("make ");
  terminal.read_until("make ");
  terminal.type("\x1a");
  terminal.wait_for_stop();
  EXPECT_TRUE(terminal.is_plain());
  terminal.send(SIGCONT);
  terminal.wait_for_editor();
  terminal.ask("24");
  EXPECT_EQ(saved(terminal, "stopped.jsonl").at(size_t{0}).get_string("content"), "make 24");
}

TEST(CliChat, ADumbTerminalGetsNoEscapeSequences) {
  Terminal terminal(greedy(remembering_model()), {{"TERM", "dumb"}});
  terminal.read_until("\n> ");
  terminal.type("make 24\n");
  const std::string shown = terminal.read_until("\n> ");
  EXPECT_EQ(shown.find('\x1b'), std::string::npos) << shown;
  terminal.type("/exit\n");
  EXPECT_EQ(terminal.wait(), 0);
}

TEST(CliChat, WhatTheModelWritesCannotCommandTheTerminal) {
  const std::string attack = "\x1b]0;owned\x07 z";
  const auto model = make_scripted_model("chat-attack", attack);
  Terminal terminal({"run", model.string()});
  terminal.answer();
  const std::string shown = terminal.ask("hello");
  EXPECT_EQ(shown.find("\x1b]0;"), std::string::npos) << "an escape sequence reached the terminal";
  EXPECT_NE(shown.find("\u241b]0;owned\u2407 z"), std::string::npos) << shown;
  EXPECT_EQ(saved(terminal, "attack.jsonl").at(1).get_string("content"), attack)
      << "only what is shown changes";
  const auto piped = test::r1_run({"run", model.string(), "-p", "hello"});
  EXPECT_EQ(piped.out, attack + "\n") << "a pipe gets what the model wrote";
}

TEST(CliChat, ThoughtsAreDimUnlessColourIsUnwanted) {
  const auto model = make_scripted_model("chat-thinks", "<think>hm?</think>yes");
  {
    Terminal terminal({"run", model.string()});
    terminal.answer();
    EXPECT_NE(terminal.ask("hello").find("\x1b[2mhm?\x1b[0m\r\n\r\nyes\r\n"), std::string::npos);
  }
  {
    Terminal terminal({"run", model.string()}, {{"NO_COLOR", "1"}});
    EXPECT_EQ(terminal.answer().find("\x1b[2m"), std::string::npos);
    const std::string shown = terminal.ask("hello");
    EXPECT_NE(shown.find("<think>hm?</think>\r\n\r\nyes\r\n"), std::string::npos) << shown;
    EXPECT_EQ(shown.find("\x1b[2m"), std::string::npos) << shown;
  }
  Terminal terminal({"run", model.string(), "--hide-thinking"});
  terminal.answer();
  const std::string shown = terminal.ask("hello");
  EXPECT_EQ(shown.find("hm?"), std::string::npos) << shown;
  EXPECT_NE(shown.find("yes\r\n"), std::string::npos) << shown;
}

TEST(CliChat, CtrlCInOneAnswerLeavesNoColour) {
  const auto model = make_scripted_model(
      "chat-forever", "a", "{% for m in messages %}{{ m.content }}{% endfor %}<|Assistant|><think>");
  Json config = read_json(model / "config.json");
  config.set("max_position_embeddings", 100000);
  write_file_atomically(model / "config.json", config.dump(2));
  Terminal terminal(
      {"run", model.string(), "-p", "hi", "--ignore-eos", "--max-tokens", "90000", "--temperature", "0"});
  terminal.read_until("\x1b[2ma");
  terminal.send(SIGINT);  // a typed Ctrl-C would also make the terminal drop its pending output
  const std::string shown = terminal.rest();
  EXPECT_TRUE(shown.ends_with("\x1b[0m\r\n"))
      << shown.substr(shown.size() - std::min<size_t>(shown.size(), 100));
  EXPECT_EQ(terminal.wait(), 128 + SIGINT);
}

}  // namespace
}  // namespace r1::chat_test
