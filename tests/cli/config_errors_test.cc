// Every mistake in a configuration is reported in one line that names the file, usually the line, and the
// remedy, before a teacher is asked or a stage runs. There is one table per kind of configuration. Each row
// has a change to a good file and the words that must be reported.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"

namespace r1::config_errors_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

struct Mistake {
  std::string good;  // a part of the good file's text
  std::string bad;   // replaces it
  std::string says;
};

std::string shipped(const std::string& name) {
  return std::string(R1_SOURCE_DIR) + "/models/" + name;
}

// Makes each mistake in turn. `out` is the run that must not begin.
void expect_refusals(const std::string& command, const std::string& good,
                     const std::vector<Mistake>& mistakes, const std::filesystem::path& out) {
  for (const Mistake& m : mistakes) {
    SCOPED_TRACE(command + ": " + m.bad);
    std::string text = good;
    const size_t at = text.find(m.good);
    ASSERT_NE(at, std::string::npos) << m.good;
    const auto result = r1_run({command, write(command + ".toml", text.replace(at, m.good.size(), m.bad))});
    EXPECT_ONE_LINE_ERROR(result, m.says);
    EXPECT_NE(result.err.find(command + ".toml"), std::string::npos) << result.err;
    EXPECT_FALSE(std::filesystem::exists(out)) << "something was made all the same";
  }
}

// Returns the mistakes that all training stages share.
std::vector<Mistake> common() {
  return {
      {"name = \"t\"\n", "", ".toml: name is missing"},
      {"name = \"t\"", "name = 5", ".toml:1: name is not a string"},
      {"name = \"t\"", "name = \"t\"\nsead = 3", ".toml:2: unknown key sead (did you mean seed?)"},
      {"name = \"t\"", "name = \"t\"\nseed = -1", "seed is -1; it must be between 0 and"},
      {"name = \"t\"", "name = \"t\"\nseed = 1.5", "seed is not a whole number"},
      {"name = \"t\"", "name = \"t\"\ndevice = \"tpu\"",
       "device is refused: device tpu: unknown: the devices are cpu and cuda"},
      {"name = \"t\"", "name = \"t\"\nnumerics = \"cpu-bf16/kv-q8\"",
       "numerics is \"cpu-bf16/kv-q8\"; it must be one of cpu-f32, cpu-bf16, cpu-avx512bf16"},
      {"name = \"t\"", "name = \"t\"\nnumerics = \"cpu-f33\"",
       "numerics is \"cpu-f33\"; it must be one of cpu-f32, cpu-bf16, cpu-avx512bf16"},
      {"name = \"t\"", "name = \"t\"\ndevice = \"cpu\"\nnumerics = \"cuda-bf16\"",
       "device is refused: numerics cuda-bf16 run on a GPU alone: choose the device cuda"},
      {"name = \"t\"", "name = \"t", ".toml:1: not valid TOML"},
      {"lr = 1e-3", "lr = \"fast\"", "optimizer.lr is not a number"},
      {"lr = 1e-3", "lr = -1.0", "optimizer.lr is -1; it must be between 0 and 10"},
      {"lr = 1e-3", "lr = nan", "optimizer.lr is nan"},
      {"lr = 1e-3", "rate = 1e-3", "unknown key optimizer.rate"},
      {"lr = 1e-3", "betas = [0.9]", "optimizer.betas is not two numbers"},
      {"lr = 1e-3", "schedule = \"cosin\"", "it must be one of constant, cosine, linear"},
      {"lr = 1e-3", "lr = 1e-3\n[optimiser]\nlr = 1",
       "unknown section [optimiser] (did you mean [optimizer]?)"},
      {"name = \"t\"", "name = \"\"", ".toml:1: name is \"\"; it names a folder"},
      {"name = \"t\"", "name = \"..\"", ".toml:1: name is \"..\"; it names a folder"},
      {"name = \"t\"", "name = \"a/t\"", ".toml:1: name is \"a/t\"; it names a folder"},
      {"name = \"t\"", "name = \"t\"\nseed = 99999999999999999999", ".toml:2: not valid TOML"},
      {"lr = 1e-3", "lr = 1e-3\n[checkpoint]\nevery = -1",
       "checkpoint.every is -1; it must be between 0 and"},
      {"lr = 1e-3", "lr = 1e-3\n[checkpoint]\nkeep = 0", "checkpoint.keep is 0; it must be between 1 and"},
      {"lr = 1e-3", "lr = 1e-3\n[checkpoint]\nevry = 2", "did you mean checkpoint.every?"},
      {"lr = 1e-3", "lr = 1e-3\n[log]\ntensorboard = 1", "log.tensorboard is not true or false"},
  };
}

std::vector<Mistake> with_common(std::vector<Mistake> mistakes) {
  for (Mistake& m : common()) mistakes.push_back(std::move(m));
  return mistakes;
}

std::string conversations() {
  return write("rows.jsonl", "{\"question\": \"Make 6 from 1, 2 and 3.\", \"response\": \"1+2+3\"}\n");
}

TEST(ConfigErrors, Sft) {
  const std::filesystem::path out = scratch() / "sft-out";
  const std::string files = "files = [\"" + conversations() + "\"]";
  const std::string model = "model = \"" + test::tiny_llama() + "\"";
  const std::string good = "name = \"t\"\n" + model + "\nout = \"" + out.string() + "\"\n[data]\n" + files +
                           "\nepochs = 1\n[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\n";
  const auto file = [](const std::string& name, const std::string& text) {
    return "files = [\"" + write(name, text) + "\"]";
  };
  std::string words;
  for (int i = 0; i < 300; ++i) words += "24 ";
  const std::string long_row = "{\"question\": \"q\", \"response\": \"" + words + "\"}\n";
  expect_refusals(
      "sft", good,
      with_common({
          {model, "", "model is missing"},
          {model, "model = 5", ".toml:2: model is not a string"},
          {model, "model = \"no/such\"", ".toml:2: model is \"no/such\": no model is there"},
          {files, "", "data.files is missing: a list of JSONL files"},
          {files, "files = []", "data.files is missing"},
          {files, "files = \"rows.jsonl\"", "data.files is not an array of strings"},
          {"epochs = 1", "", "data.epochs and optimizer.steps: exactly one of the two must be given"},
          {"epochs = 1", "epochs = 0", "data.epochs is 0; it must be between 1 and"},
          {"epochs = 1", "epochs = -2", "data.epochs is -2; it must be between 1 and"},
          {"epochs = 1", "epochs = \"one\"", "data.epochs is not a whole number"},
          {"epochs = 1", "epochs = 1\nmax_tokens = 1", "data.max_tokens is 1; it must be between 2 and"},
          {"epochs = 1", "epochs = 1\nloss_on = \"anwser\"", "it must be one of answer, assistant, all"},
          {"tokens = 300", "token = 300", "unknown key batch.token (did you mean batch.tokens?)"},
          {"tokens = 300", "tokens = 0", "batch.tokens is 0; it must be between 2 and"},
          {"lr = 1e-3", "steps = 3", "one of the two"},
      }),
      out);
  // Mistakes that only the data reveal name the data's file.
  const std::vector<Mistake> data = {
      {files, "files = [\"no/such.jsonl\"]", "no/such.jsonl"},
      {files, file("none.jsonl", "\n"), "none.jsonl: holds no row to train on"},
      {files, file("half.jsonl", "{\"question\": \"q\"}\n"), "half.jsonl:1: "},
      {files, file("long.jsonl", long_row) + "\nmax_tokens = 50", "long.jsonl:1: has "},
      {files, file("long.jsonl", long_row) + "\nmax_tokens = 5000", "tokens, the model's context is 256"},
  };
  for (const Mistake& m : data) {
    std::string text = good;
    const auto result =
        r1_run({"sft", write("sft.toml", text.replace(text.find(m.good), m.good.size(), m.bad))});
    EXPECT_ONE_LINE_ERROR(result, m.says);
  }
}

std::string distill_good(const std::filesystem::path& out) {
  return "name = \"t\"\nteacher = \"" + shipped("r1-nano") + "\"\nstudent = \"" +
         shipped("r1-nano-student-base") + "\"\nkeep = 1\nout = \"" + out.string() +
         "\"\n[data]\ntask = \"countdown3\"\nproblems = 4\nepochs = 1\n[rollout]\nsamples = 2\nmax_tokens = "
         "60\n"
         "[filter]\nrepeats = false\n[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\n";
}

TEST(ConfigErrors, Distill) {
  const std::filesystem::path out = scratch() / "distill-out";
  const std::string teacher = "teacher = \"" + shipped("r1-nano") + "\"";
  const std::string student = "student = \"" + shipped("r1-nano-student-base") + "\"";
  expect_refusals(
      "distill", distill_good(out),
      with_common({
          {teacher, "", "teacher is missing"},
          {teacher, "teacher = \"no/such\"", ".toml:2: teacher is \"no/such\": no model is there"},
          {student, "", "student is missing"},
          {student, "student = \"no/such\"", ".toml:3: student is \"no/such\": no model is there"},
          {student, student + "\nmodel = \"x\"", "unknown key model"},
          {"keep = 1", "keep = 0", "keep is 0; it must be between 1 and 2"},
          {"keep = 1", "keep = 3", "keep is 3; it must be between 1 and 2"},
          {"keep = 1", "keep = \"all\"", "keep is not a whole number"},
          {"countdown3", "countdwn3", "unknown task countdwn3 (did you mean countdown3?)"},
          {"countdown3", "game24", "task game24 has no training problems"},
          {"countdown3", "expression", "task expression is not generated"},
          {"countdown3", "arithmetic:4", "levels are 1 to 3"},
          {"problems = 4", "problems = 0", "data.problems is 0; it must be between 1 and"},
          {"problems = 4", "problems = -4", "data.problems is -4; it must be between 1 and"},
          {"problems = 4", "problem = 4", "did you mean data.problems?"},
          {"problems = 4", "files = [\"x.jsonl\"]", "data.files names "},
          {"epochs = 1", "epochs = 0", "data.epochs is 0; it must be between 1 and"},
          {"samples = 2", "samples = 0", "rollout.samples is 0; it must be between 1 and"},
          {"max_tokens = 60", "max_tokens = 0", "rollout.max_tokens is 0; it must be between 1 and"},
          {"max_tokens = 60", "max_tokens = 60\ntemperature = -1",
           "rollout.temperature is -1; it must be between 0 and"},
          {"max_tokens = 60", "max_tokens = 60\ntop_p = 0",
           "rollout.top_p is 0; it must be between 0.01 and 1"},
          {"repeats = false", "repeats = 0", "filter.repeats is not true or false"},
          {"repeats = false", "repeat = false", "did you mean filter.repeats?"},
          {"repeats = false", "prefer = \"longest\"", "it must be one of first, shortest"},
          {"repeats = false", "max_tokens = -1", "filter.max_tokens is -1; it must be between 0 and"},
      }),
      out);
}

TEST(ConfigErrors, DistillWithoutAnythingToLearn) {
  const std::filesystem::path out = scratch() / "nothing-out";
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = distill_good(out);
    return r1_run({"distill", write("distill.toml", text.replace(text.find(from), from.size(), to))});
  };
  // The teacher's memory is reported before the teacher is asked.
  const auto after_memory = [](test::Result result) {
    EXPECT_TRUE(result.err.starts_with("memory of the teacher: ")) << result.err;
    result.err.erase(0, result.err.find('\n') + 1);
    return result;
  };
  EXPECT_ONE_LINE_ERROR(after_memory(changed("max_tokens = 60", "max_tokens = 1")),
                        "r1-nano: as a teacher it solved none of 4 problems of countdown3");
  EXPECT_ONE_LINE_ERROR(after_memory(changed("repeats = false", "max_tokens = 2")),
                        "correct samples is left after [filter]: loosen max_tokens or repeats");
  EXPECT_ONE_LINE_ERROR(changed("max_tokens = 60", "max_tokens = 100000"),
                        "as a teacher it has a context of");
}

// This is not a mistake, because the student is given text.
TEST(ConfigErrors, AStudentWithAnotherTokenizerIsTaught) {
  const std::filesystem::path out = scratch() / "other-tokenizer";
  std::string text = distill_good(out);
  const std::string student = shipped("r1-nano-student-base");
  text.replace(text.find(student), student.size(), test::tiny_llama());
  const auto result = r1_run({"distill", write("distill.toml", text)});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(read_file(out / "model" / "tokenizer.json"),
            read_file(std::filesystem::path(test::tiny_llama()) / "tokenizer.json"));
}

TEST(ConfigErrors, Grpo) {
  const std::filesystem::path out = scratch() / "grpo-out";
  const std::string model = "model = \"" + shipped("r1-nano-base") + "\"";
  const std::string good =
      "name = \"t\"\n" + model + "\nout = \"" + out.string() +
      "\"\n[data]\ntask = \"countdown3\"\n[rollout]\nprompts = 2\ngroup = 2\nmax_tokens = 9\n"
      "[reward]\naccuracy = 1\n[loss]\nkl = 0\n[filter]\ndynamic = true\n"
      "[batch]\nmicro = 500\n[optimizer]\nsteps = 1\nlr = 1e-3\n";
  expect_refusals(
      "grpo", good,
      with_common({
          {model, "", "model is missing"},
          {model, "model = \"no/such\"", ".toml:2: model is \"no/such\": no model is there"},
          {"countdown3", "calender", "unknown task calender (did you mean calendar?)"},
          {"countdown3", "game24:2", "has no training problems"},
          {"task = ", "tasks = ", "did you mean data.task?"},
          {"prompts = 2", "prompts = 0", "rollout.prompts is 0; it must be between 1 and"},
          {"group = 2", "group = 1", "rollout.group is 1; it must be between 2 and"},
          {"group = 2", "groups = 2", "did you mean rollout.group?"},
          {"max_tokens = 9", "max_tokens = -9", "rollout.max_tokens is -9; it must be between 1 and"},
          {"max_tokens = 9", "max_tokens = 100000", "rollout.max_tokens is 100000; the model's context is"},
          {"max_tokens = 9", "minibatches = 3", "rollout.minibatches is 3; it must be between 1 and 2"},
          {"max_tokens = 9", "epochs = 0", "rollout.epochs is 0; it must be between 1 and"},
          {"max_tokens = 9", "temperature = 0", "rollout.temperature is 0; it must be between 0.01 and"},
          {"accuracy = 1", "acuracy = 1", "did you mean reward.accuracy?"},
          {"accuracy = 1", "accuracy = \"1\"", "reward.accuracy is not a number"},
          {"accuracy = 1", "brevity = -1", "reward.brevity is -1; it must be between 0 and"},
          {"accuracy = 1", "overlong_tokens = 0", "reward.overlong_tokens is 0; it must be between 1 and"},
          {"kl = 0", "kl = -1", "loss.kl is -1; it must be between 0 and"},
          {"kl = 0", "ratio = \"tokens\"", "it must be one of token, sequence, sequence_mean"},
          {"kl = 0", "surrogate = \"pop\"", "it must be one of ppo, cispo"},
          {"kl = 0", "normalise = \"std\"", "it must be one of group, batch, none"},
          {"kl = 0", "aggregate = \"mean\"", "it must be one of token, sequence, constant"},
          {"kl = 0", "overlong = \"drop\"", "it must be one of count, mask"},
          {"kl = 0", "clip_low = 1.5", "loss.clip_low is 1.5; it must be between 0 and 1"},
          {"kl = 0", "clip_hi = 0.3", "did you mean loss.clip_high?"},
          {"kl = 0", "reference_every = -1", "loss.reference_every is -1; it must be between 0 and"},
          {"dynamic = true", "dynamic = 1", "filter.dynamic is not true or false"},
          {"dynamic = true", "rounds = 0", "filter.rounds is 0; it must be between 1 and"},
          {"micro = 500", "micro = 1", "batch.micro is 1; it must be between 2 and"},
          {"steps = 1", "", "optimizer.steps is missing"},
          {"steps = 1", "steps = 0", "optimizer.steps is 0; it must be between 1 and"},
          {"steps = 1", "steps = 1\nwarmup = 2", "optimizer.warmup is 2; it must be between 0 and 1"},
      }),
      out);
}

TEST(ConfigErrors, Pretrain) {
  const std::filesystem::path out = scratch() / "pretrain-out";
  const std::string model = "model = \"" + test::tiny_llama() + "\"";
  const std::string good = "name = \"t\"\n" + model + "\nout = \"" + out.string() +
                           "\"\n[data]\ntask = \"countdown\"\nmax_tokens = 100\n[batch]\ntokens = 300\n"
                           "[optimizer]\nsteps = 1\nlr = 1e-3\n";
  expect_refusals(
      "pretrain", good,
      with_common({
          {model, "", "model is missing: a directory, or [model.config]"},
          {model, "model = \"no/such\"", ".toml:2: model is \"no/such\": no model is there"},
          {"\"countdown\"", "\"arithmetic\"",
           "data.task is \"arithmetic\"; it must be one of countdown, countdown99"},
          {"max_tokens = 100", "max_tokens = 257", "data.max_tokens is 257; the model's context is 256"},
          {"max_tokens = 100", "stop = 1.5", "data.stop is 1.5; it must be between 0 and 1"},
          {"max_tokens = 100", "max_attempts = 0", "data.max_attempts is 0; it must be between 1 and"},
          {"tokens = 300", "tokens = -300", "batch.tokens is -300; it must be between 2 and"},
      }),
      out);
}

TEST(ConfigErrors, Recipe) {
  const std::filesystem::path out = scratch() / "recipe-out";
  write("stage.toml", "name = \"s\"\nmodel = \"r1-nano-base\"\n[optimizer]\nsteps = 1\n");
  const std::string model = "model = \"" + shipped("r1-nano-base") + "\"";
  const std::string exam =
      "name = \"exam\"\nkind = \"eval\"\n" + model + "\ntask = \"countdown3\"\nproblems = 2\n";
  const std::string good = "name = \"t\"\nout = \"" + out.string() + "\"\n[[stage]]\n" + exam +
                           "[[stage]]\nname = \"zero\"\nkind = \"grpo\"\nconfig = \"stage.toml\"\n" +
                           "[[stage]]\nname = \"pupil\"\nkind = \"distill\"\nconfig = \"stage.toml\"\n" +
                           "teacher = \"@zero\"\nmodel = \"@zero\"\n";
  const std::string bad_file =
      write("bad-row.jsonl", "{\"task\": \"calendar\", \"prompt\": \"Q\", \"gold\": 5}\n");
  expect_refusals(
      "recipe", good,
      {
          {"name = \"t\"\n", "", ".toml: name is missing"},
          {"name = \"t\"\n", "name = \"t\"\nsed = 1\n", "unknown key sed (did you mean seed?)"},
          {"name = \"t\"\n", "name = \"t\"\nnumerics = \"cpu-f32\"\n", "unknown key numerics"},
          {"name = \"exam\"", "name = \"a/b\"", "stage[0].name is \"a/b\"; it names a folder"},
          {"name = \"pupil\"", "name = \"zero\"", "stage[2].name is \"zero\", as an earlier stage's"},
          {"\"eval\"", "\"evaluate\"", "it must be one of pretrain, sft, grpo, ppo, distill, eval"},
          {model, "", "stage[0].model is missing"},
          {model, "model = \"no/such\"", "stage[0].model is \"no/such\": no model is there"},
          {model, "model = \"@zero\"", "no earlier stage of that name makes a model"},
          {"\"countdown3\"", "\"countdwn3\"",
           "is no file, and unknown task countdwn3 (did you mean countdown3?)"},
          {"\"countdown3\"", "\"no/such.jsonl\"", "is no file, and unknown task"},
          {"problems = 2", "problems = 0", "stage[0].problems is 0; it must be between 1 and"},
          {"problems = 2", "samples = -1", "stage[0].samples is -1; it must be between 1 and"},
          {"problems = 2", "max_token = 5", "did you mean stage[0].max_tokens?"},
          {"problems = 2", "max_tokens = 0", "stage[0].max_tokens is 0; it must be between 1 and"},
          {"problems = 2", "keep = 1", "unknown key stage[0].keep"},
          {"config = \"stage.toml\"", "", "stage[1].config is missing"},
          {"config = \"stage.toml\"", "config = \"stge.toml\"", "stage[1].config is no file"},
          {"teacher = \"@zero\"", "teacher = \"@exam\"", "no earlier stage of that name makes a model"},
          {"teacher = \"@zero\"", "teacher = \"no/such\"",
           "stage[2].teacher is \"no/such\": no model is there"},
          {"kind = \"grpo\"", "kind = \"grpo\"\noptional = true", "make this stage optional too"},
      },
      out);
  std::string text = good;
  const std::string task = "\"countdown3\"";
  EXPECT_ONE_LINE_ERROR(r1_run({"recipe", write("recipe.toml", text.replace(text.find(task), task.size(),
                                                                            "\"" + bad_file + "\""))}),
                        "bad-row.jsonl:1: ");
  EXPECT_ONE_LINE_ERROR(r1_run({"recipe", write("recipe.toml", "name = \"t\"\n")}),
                        "a recipe is a list of [[stage]]");
}

TEST(ConfigErrors, Report) {
  const auto broken = [](const std::string& name, const std::string& text) {
    const std::filesystem::path run = scratch() / name;
    std::filesystem::create_directories(run);
    write_file_atomically(run / "recipe.json", text);
    return run.string();
  };
  EXPECT_ONE_LINE_ERROR(r1_run({"report", broken("cut", "{\"recipe\": ")}), "recipe.json");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", broken("list", "[1]")}), "recipe.json");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", write("a-file", "x")}),
                        "is a file; it must be the directory of a run");
  std::filesystem::create_directories(scratch() / "empty-run");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", (scratch() / "empty-run").string()}),
                        "give the directory that r1 recipe, pretrain, sft, grpo, ppo, distill wrote");
  EXPECT_ONE_LINE_ERROR(r1_run({"report"}), "r1 report needs RUN");
}

TEST(ConfigErrors, EvaluatedProblems) {
  const std::string model = shipped("r1-nano-base");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", model, "--task", "calender"}),
                        "unknown task calender (did you mean calendar?)");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", model, "--task", "countdown3", "--problems", "0"}), "--problems");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", model, "--task", "countdown3", "--problems", "999999999999"}),
                        "--problems is 999999999999; it must be between 1 and 1000000");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"eval", model, "--task", "countdown3", "--problems", "1000", "--samples", "60000"}),
      "the output would have 60000000 rows, and at most 16777216 are written");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", model, "--task", write("no-rows.jsonl", "\n")}),
                        "no-rows.jsonl: has no problems");
  const std::string row =
      "{\"task\": \"calendar\", \"prompt\": \"Q\", \"gold\": {\"weekday\": \"Froday\"}}\n";
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", model, "--task", write("froday.jsonl", row)}),
                        "froday.jsonl:1: gold.weekday is no weekday's English name");
}

}  // namespace
}  // namespace r1::config_errors_test
