// Training with a chat template that ends the prompt with <think>: GRPO rewards answers that begin inside the
// thought, and a distillation writes the tag where the student's template expects it.
#include "formats/jsonl.h"
#include "recipe/sft_data.h"
#include "recipe/teacher.h"
#include "tests/engine/opened_model.h"
#include "tests/train/train_test_util.h"
#include "text/think.h"

namespace r1::opened_thought_test {
namespace {

class OpenedThought : public RunFolder {
 protected:
  std::vector<Json> grpo_rows(const std::string& name, const std::string& model) const {
    std::string text = read_file(grpo_config(name + ".toml", name));
    const std::string usual = base();
    text.replace(text.find(usual), usual.size(), model);
    text.replace(text.find("max_tokens = 40"), 15, "max_tokens = 90");
    ThreadPool threads(2);
    SilentReporter reporter;
    run_grpo_config(write(name + ".toml", text), {}, threads, reporter);
    return reporter.rows;
  }
  // The rows that a distillation keeps, and the text that its student is trained on.
  struct Distilled {
    std::vector<std::string> responses, trained;
  };
  Distilled distill(const std::string& name, const std::string& teacher, const std::string& student) const {
    const auto config =
        write(name + ".toml", "name = \"t\"\nseed = 5\nteacher = \"" + teacher + "\"\nstudent = \"" +
                                  student + "\"\nout = \"" + (root / name).string() +
                                  "\"\n[data]\ntask = \"countdown3\"\nproblems = 8\n"
                                  "[rollout]\nsamples = 2\nmax_tokens = 100\n"
                                  "[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\nsteps = 1\n");
    ThreadPool threads(2);
    SilentReporter reporter;
    run_distill_config(config, {}, threads, reporter, {});
    Distilled out;
    for (const Json& row : read_jsonl(root / name / "data.jsonl"))
      out.responses.push_back(row.get_string("response"));
    const ModelBundle bundle = ModelBundle::load(student);
    for (const Document& d : read_sft_documents(
             DataFiles{.files = {(root / name / "data.jsonl").string()}, .selection = {.deduplicate = false}},
             bundle, LossOn::answer, 500)) {
      out.trained.push_back(bundle.tokenizer.decode(d.tokens));
    }
    return out;
  }
};

double mean(const std::vector<Json>& rows, const char* key) {
  double sum = 0;
  for (const Json& row : rows) sum += row.get_number(key);
  return sum / static_cast<double>(rows.size());
}

TEST_F(OpenedThought, GrpoIsPaidAsWithTheTagInTheAnswer) {
  const auto plain = grpo_rows("plain", base());
  const auto opened = grpo_rows("opened", test::opened_model("r1-nano-base", root / "model").string());
  ASSERT_EQ(opened.size(), 4u);
  EXPECT_GT(mean(plain, "format"), 0.5);
  EXPECT_GT(mean(opened, "format"), 0.5 * mean(plain, "format"));
  EXPECT_GT(mean(opened, "reward"), 0.0);
  EXPECT_GT(mean(opened, "reward"), mean(plain, "reward") / 4);
  EXPECT_GT(mean(opened, "thinking_correct"), 1.0);
  for (const Json& row : opened) EXPECT_EQ(row.get_number("sampler_trainer_max_abs"), 0.0);
}

TEST_F(OpenedThought, DistillationWritesTheTagOnceWhoeverOpensTheThought) {
  const std::string plain_teacher = std::string(R1_SOURCE_DIR) + "/models/r1-nano";
  const std::string opened_teacher = test::opened_model("r1-nano", root / "teacher").string();
  const std::string opened_student =
      test::opened_model("r1-nano-base", root / "student", "<think>\\n").string();
  const std::string plain_student = base();
  const std::string* pairs[][2] = {{&plain_teacher, &opened_student},
                                   {&opened_teacher, &plain_student},
                                   {&opened_teacher, &opened_student}};
  for (const auto& [teacher, student] : pairs) {
    const Distilled d = distill("d", *teacher, *student);
    ASSERT_FALSE(d.responses.empty()) << "the teacher solved none";
    const std::string between =
        student == &plain_student ? "<｜Assistant｜><think>" : "<｜Assistant｜><think>\n";
    for (size_t i = 0; i < d.responses.size(); ++i) {
      EXPECT_TRUE(d.responses[i].starts_with("<think>")) << d.responses[i];
      const std::string& text = d.trained[i];
      const std::string rest = d.responses[i].substr(kThinkOpen.size());
      EXPECT_TRUE(text.ends_with(between + rest + "<｜end▁of▁sentence｜>")) << text;
      EXPECT_EQ(text.find(kThinkOpen), text.rfind(kThinkOpen)) << text;
    }
    std::filesystem::remove_all(root / "d");
  }
}

// A second teacher uses the kept answers again, but not if its template differs.
TEST_F(OpenedThought, AnotherTemplateIsAnotherTeacher) {
  const auto teacher = test::opened_model("r1-nano", root / "teacher");
  const TeacherConfig config{
      .teacher = teacher.string(), .data = {.task = "countdown3"}, .problems = 4, .sampling = {.samples = 2}};
  ThreadPool threads(2);
  SilentReporter first, second;
  std::filesystem::create_directories(root / "d");
  Teacher(config, root / "d", threads).sample(first);
  Teacher(config, root / "d", threads).sample(second);
  ASSERT_EQ(second.notes.size(), 1u);
  EXPECT_NE(second.notes[0].find("is there already"), std::string::npos);
  const std::string before = read_file(root / "d" / "data.jsonl");
  write_file_atomically(teacher / "tokenizer_config.json",
                        read_file(std::string(R1_SOURCE_DIR) + "/models/r1-nano/tokenizer_config.json"));
  try {
    Teacher(config, root / "d", threads);
    FAIL() << "the answers of another template were taken";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("teacher.json: is of another teacher"), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(read_file(root / "d" / "data.jsonl"), before);
}

}  // namespace
}  // namespace r1::opened_thought_test
