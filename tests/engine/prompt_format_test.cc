#include "engine/prompt_format.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/ask.h"
#include "formats/json.h"
#include "text/think.h"

namespace r1::prompt_format_test {
namespace {

namespace fs = std::filesystem;

class Prompts : public testing::Test {
 protected:
  Prompts() { fs::create_directories(root); }
  ~Prompts() override { fs::remove_all(root); }

  static ModelBundle nano() { return ModelBundle::load(std::string(R1_SOURCE_DIR) + "/models/r1-nano-base"); }
  // Returns the same model with another chat template.
  static ModelBundle with_template(const std::string& text) {
    ModelBundle bundle = nano();
    bundle.chat_template = text.empty() ? ChatTemplates() : ChatTemplates::of(text, "T");
    return bundle;
  }
  std::string jinja(const std::string& text) const {
    write_file_atomically(root / "p.jinja", text);
    return (root / "p.jinja").string();
  }
  static PromptFormat format(const std::string& name, const std::string& system = "",
                             const std::string& think = "") {
    PromptFormat out = prompt_format_of(name, system, think);
    load_prompt_format(out);
    return out;
  }
  template <class Action>
  static std::string error_of(const Action& action) {
    try {
      action();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  fs::path root = fs::temp_directory_path() / ("r1_prompts_" + std::to_string(::getpid()));
};

constexpr const char* kQuestion = "What is 2 + 3?";

TEST_F(Prompts, TheDefaultIsTheModelsChatTemplateToTheToken) {
  const ModelBundle bundle = nano();
  for (const PromptFormat& f : {PromptFormat(), format(""), format("chat", "", "free")}) {
    const ChatPrompt got = make_prompt(bundle, f, kQuestion), want = bundle.chat_prompt(kQuestion);
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_EQ(got.opening, want.opening);
    EXPECT_EQ(check_prompt_format(bundle, f, "m"), "");
    EXPECT_TRUE(to_json(f).is_null());
  }
}

TEST_F(Prompts, R1ZeroIsTheTextOfThePaperAroundTheQuestion) {
  const ModelBundle bundle = nano();
  const ChatPrompt prompt = make_prompt(bundle, format("r1-zero"), kQuestion);
  EXPECT_EQ(
      prompt.text,
      "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
      "The assistant first thinks about the reasoning process in the mind and then provides the user with "
      "the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> "
      "</answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
      "</answer>. User: What is 2 + 3?. Assistant:");
  EXPECT_EQ(prompt.opening, "");
  EXPECT_EQ(prompt.tokens, bundle.raw_prompt(prompt.text));
  EXPECT_TRUE(
      make_prompt(bundle, format("r1-zero", "", "open"), kQuestion).text.ends_with(". Assistant: <think>\n"));
}

TEST_F(Prompts, RawIsTheQuestionAlone) {
  const ModelBundle bundle = nano();
  const ChatPrompt prompt = make_prompt(bundle, format("raw"), kQuestion);
  EXPECT_EQ(prompt.text, kQuestion);
  EXPECT_EQ(prompt.tokens, bundle.raw_prompt(kQuestion));
  EXPECT_EQ(make_prompt(bundle, format("raw", "", "open"), kQuestion).text, "What is 2 + 3?\n<think>\n");
}

TEST_F(Prompts, AFileReadsQuestionAndSystemOrMessages) {
  const ModelBundle bundle = nano();
  const std::string plain = jinja("{{ system }}\nQ: {{ question }}\nA:");
  EXPECT_EQ(make_prompt(bundle, format(plain, "Be brief."), kQuestion).text,
            "Be brief.\nQ: What is 2 + 3?\nA:");
  const std::string chat =
      jinja("{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}");
  const ChatPrompt prompt = make_prompt(bundle, format(chat, "S"), kQuestion);
  EXPECT_EQ(prompt.text, bundle.bos + "[system]S[user]What is 2 + 3?");
  // The template wrote the begin-of-text token, which must not occur twice.
  EXPECT_EQ(prompt.tokens, bundle.tokenizer.encode(prompt.text, false));
}

TEST_F(Prompts, OpenWritesTheTagOnce) {
  const ModelBundle plain = nano();
  const ChatPrompt added = make_prompt(plain, format("chat", "", "open"), kQuestion);
  EXPECT_EQ(added.text, plain.chat_prompt(kQuestion).text + "<think>\n");
  EXPECT_EQ(added.opening, "<think>\n");
  const ModelBundle opens = with_template("{{ messages[0].content }}<think>");
  EXPECT_EQ(make_prompt(opens, format("", "", "open"), kQuestion).text, "What is 2 + 3?<think>");
}

TEST_F(Prompts, OffClosesTheThoughtAndVerifiersReadAnEmptyOne) {
  const ModelBundle plain = nano();
  const ChatPrompt added = make_prompt(plain, format("chat", "", "off"), kQuestion);
  EXPECT_EQ(added.text, plain.chat_prompt(kQuestion).text + std::string(kEmptyThought));
  EXPECT_EQ(added.opening, kEmptyThought);
  EXPECT_FALSE(opens_thought(added.opening));
  EXPECT_EQ(whole_response("<answer>5</answer>", added.opening), "<think>\n\n</think>\n\n<answer>5</answer>");
  const ModelBundle opens = with_template("{{ messages[0].content }}<think>\n");
  EXPECT_EQ(make_prompt(opens, format("", "", "off"), kQuestion).text,
            "What is 2 + 3?" + std::string(kEmptyThought));
}

TEST_F(Prompts, ATemplateThatKnowsEnableThinkingIsToldInsteadOfPatched) {
  const ModelBundle hybrid = with_template(
      "{{ messages[0].content }}|{% if enable_thinking is defined and not enable_thinking "
      "%}<think>\n\n</think>\n\n"
      "{% elif enable_thinking %}yes{% endif %}");
  EXPECT_EQ(make_prompt(hybrid, format("", "", "off"), "Q").text, "Q|<think>\n\n</think>\n\n");
  EXPECT_EQ(make_prompt(hybrid, format("", "", "open"), "Q").text, "Q|yes<think>\n");
  EXPECT_EQ(make_prompt(hybrid, format("", "", "free"), "Q").text, "Q|");
}

TEST_F(Prompts, OpenIsRefusedIfTheTemplateClosesTheThought) {
  const ModelBundle closed = with_template("{{ messages[0].content }}</think>");
  const std::string error = error_of([&] { check_prompt_format(closed, format("", "", "open"), "m"); });
  EXPECT_NE(error.find("prompt.think is open, but the prompt ends with </think>"), std::string::npos)
      << error;
}

TEST_F(Prompts, ASystemMessageIsNeverLeftOut) {
  // r1-nano's template writes only the user's turns.
  const std::string dropped = error_of([&] { check_prompt_format(nano(), format("", "Be brief."), "m"); });
  EXPECT_NE(dropped.find("does not write a system message"), std::string::npos) << dropped;
  const ModelBundle writes =
      with_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
  EXPECT_EQ(check_prompt_format(writes, format("", "Be brief."), "m"), "");
  EXPECT_EQ(make_prompt(writes, format("", "Be brief."), "Q").text, "system: Be brief.\nuser: Q\n");
  EXPECT_NE(error_of([&] { format("r1-zero", "x"); }).find("has no place in the template r1-zero"),
            std::string::npos);
  EXPECT_NE(error_of([&] { format("raw", "x"); }).find("has no place in the template raw"),
            std::string::npos);
}

TEST_F(Prompts, AModelWithoutAChatTemplateSaysWhatToSet) {
  const ModelBundle bare = with_template("");
  const std::string note = check_prompt_format(bare, format(""), "models/base");
  EXPECT_NE(note.find("models/base has no chat template"), std::string::npos);
  EXPECT_NE(note.find("r1-zero"), std::string::npos);
  EXPECT_EQ(make_prompt(bare, format(""), kQuestion).tokens, bare.raw_prompt(kQuestion));
  const std::string error = error_of([&] { check_prompt_format(bare, format("chat"), "models/base"); });
  EXPECT_NE(error.find("set prompt.template to \"r1-zero\""), std::string::npos) << error;
  EXPECT_EQ(check_prompt_format(bare, format("raw"), "models/base"), "");
  EXPECT_EQ(check_prompt_format(bare, format("r1-zero"), "models/base"), "");
}

TEST_F(Prompts, WrongSettingsNameTheKeyAndTheChoices) {
  const auto read = [](const std::string& text) {
    ConfigFile file = ConfigFile::parse(text, "c.toml");
    read_prompt_format(file);
  };
  EXPECT_EQ(error_of([&] { read("[prompt]\ntemplate = 'r1zero'"); }),
            "c.toml:2: prompt.template is r1zero; it must be chat, r1-zero, raw, or a file whose name ends "
            "with .jinja");
  EXPECT_NE(error_of([&] { read("[prompt]\nthink = 'on'"); }).find("prompt.think"), std::string::npos);
  EXPECT_NE(
      error_of([&] { read("[prompt]\ntemplate = 'raw'\nsystem = 's'"); }).find("c.toml:3: prompt.system"),
      std::string::npos);
  EXPECT_EQ(error_of([&] { format("", "", "on"); }), "--think is on; it must be open, free or off");
}

TEST_F(Prompts, AskWritesTheFormatIntoEveryRequest) {
  const ModelBundle bundle = nano();
  std::vector<Problem> problems(2);
  problems[0].question = "A?", problems[1].question = "B?";
  const PromptFormat f = format("r1-zero", "", "open");
  const std::vector<Request> requests = ask(bundle, problems, {}, f);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(requests[i].prompt, make_prompt(bundle, f, problems[i].question).tokens);
    EXPECT_EQ(requests[i].opening, "<think>\n");
  }
}

}  // namespace
}  // namespace r1::prompt_format_test
