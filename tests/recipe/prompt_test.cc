// [prompt] sets the form of grpo's prompts and of a distillation's teacher's prompts, and a resumed run must
// have the same one.
#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"
#include "text/think.h"

namespace r1::prompt_test {
namespace {

class PromptStages : public RunFolder {
 protected:
  std::filesystem::path config(const std::string& name, const std::string& prompt, int64_t steps = 1) const {
    const std::string text = read_file(grpo_config(name + ".toml", name, "", prompt));
    const size_t at = text.find("steps = 4");
    return write(name + ".toml", std::string(text).replace(at, 9, "steps = " + std::to_string(steps)));
  }
  std::vector<Json> run(const std::filesystem::path& path, bool resume = false) const {
    ThreadPool threads(2);
    SilentReporter reporter;
    run_grpo_config(path, {.resume = resume, .force = true}, threads, reporter);
    return reporter.rows;
  }
  std::string asked(const std::string& name) const {
    const ModelBundle bundle = ModelBundle::load(base());
    const Json row = read_jsonl(root / name / "samples.jsonl").front();
    std::vector<int32_t> tokens;
    for (const Json& t : row.at("prompt_tokens").items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    return bundle.tokenizer.decode(tokens);
  }
};

TEST_F(PromptStages, GrpoTakesAStepWithEachTemplate) {
  write("own.jinja", "Task: {{ question }}\nReply:");
  struct Case {
    const char *name, *prompt, *end;
  };
  for (const Case& c : {Case{"zero", "template = 'r1-zero'\nthink = 'open'", ". Assistant: <think>\n"},
                        Case{"raw", "template = 'raw'\nthink = 'off'", "\n<think>\n\n</think>\n\n"},
                        Case{"own", "template = 'own.jinja'", "\nReply:"},
                        Case{"chat", "template = 'chat'\nthink = 'open'", "<｜Assistant｜><think>\n"}}) {
    const std::vector<Json> rows = run(config(c.name, std::string("[prompt]\n") + c.prompt + "\n"));
    ASSERT_EQ(rows.size(), 1u) << c.name;
    EXPECT_EQ(rows[0].get_number("sampler_trainer_max_abs"), 0.0) << c.name;
    EXPECT_TRUE(asked(c.name).ends_with(c.end)) << c.name << ": " << asked(c.name);
  }
}

TEST_F(PromptStages, ChatAndFreeAreTheDefaultToTheBit) {
  run(config("plain", ""));
  run(config("said", "[prompt]\ntemplate = 'chat'\nthink = 'free'\n"));
  EXPECT_EQ(weights_of(root / "plain" / "model"), weights_of(root / "said" / "model"));
}

TEST_F(PromptStages, AResumedRunAsksInTheSameWords) {
  write("own.jinja", "Task: {{ question }}\nReply:");
  run(config("r", "[prompt]\ntemplate = 'own.jinja'\n", 1));
  const auto error = [&](const std::string& prompt) -> std::string {
    try {
      run(config("r", prompt, 2), true);
    } catch (const Error& e) {
      return e.what();
    }
    return "resumed";
  };
  EXPECT_NE(error("[prompt]\ntemplate = 'own.jinja'\nthink = 'open'\n").find("prompt.think is \"open\""),
            std::string::npos);
  EXPECT_NE(error("").find("prompt.template is \"chat\""), std::string::npos);
  write("own.jinja", "Another: {{ question }}");
  const std::string changed = error("[prompt]\ntemplate = 'own.jinja'\n");
  EXPECT_NE(changed.find("prompt.template (\"own.jinja\") does not hold what the run was begun with"),
            std::string::npos)
      << changed;
  write("own.jinja", "Task: {{ question }}\nReply:");
  EXPECT_EQ(error("[prompt]\ntemplate = 'own.jinja'\n"), "resumed");
}

TEST_F(PromptStages, ATeacherThatIsAskedInsideAThoughtTeachesItWhole) {
  const std::string teacher = std::string(R1_SOURCE_DIR) + "/models/r1-nano";
  const auto path =
      write("d.toml", "name = \"t\"\nseed = 5\nteacher = \"" + teacher + "\"\nstudent = \"" + base() +
                          "\"\nout = \"" + (root / "d").string() +
                          "\"\n[data]\ntask = \"countdown3\"\nproblems = 30\n[prompt]\nthink = \"open\"\n"
                          "[rollout]\nsamples = 4\nmax_tokens = 100\n"
                          "[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\nsteps = 1\n");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_distill_config(path, {}, threads, reporter);
  const std::vector<Json> rows = read_jsonl(root / "d" / "data.jsonl");
  ASSERT_FALSE(rows.empty());
  for (const Json& row : rows) {
    const std::string& response = row.get_string("response");
    EXPECT_TRUE(response.starts_with(kThinkOpen)) << response;
    EXPECT_EQ(response.find(kThinkOpen), response.rfind(kThinkOpen)) << response;
  }
}

TEST_F(PromptStages, AMissingTemplateIsNamedBeforeAnythingIsMade) {
  const auto path = config("m", "[prompt]\ntemplate = 'nowhere.jinja'\n");
  try {
    check_stage_config("grpo", path, {});
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("prompt.template names a file that is not there"), std::string::npos)
        << e.what();
  }
  EXPECT_THROW(run(path), Error);
  EXPECT_FALSE(std::filesystem::exists(root / "m"));
}

}  // namespace
}  // namespace r1::prompt_test
